"""How often each class occurs, and class weights that follow from it.

Three published ways to weight the classes of a loss are here. They share three rules:

* counts are those of the training labels; void pixels are no class and count nowhere;
* a class without any pixel ("absent") gets weight 1. It has no frequency to weight by; training never meets it, and
  where it turns up later, in validation, its pixels count as unweighted ones do: neither silenced nor boosted;
* everything is float64, so that counts of 10**12 pixels lose nothing.

The weightings differ in scale by more than ten times. ``FocalDiceLoss`` and mmseg's ``CrossEntropyLoss`` divide by the
sum of the weights of all labelled pixels, so that scale alone changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected, shorten
from cityseg_ext.labels import IGNORE_INDEX

Counts = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


def class_counts(
    indices: npt.NDArray[np.uint8], num_classes: int, ignore_index: int = IGNORE_INDEX
) -> tuple[Counts, int]:
    """Count the pixels of each class in a label map.

    Args:
        indices: uint8 (H, W), class indices 0 .. K-1, or ``ignore_index``.
        num_classes: K, 1 to 255.
        ignore_index: the value of void pixels.

    Returns:
        int64 (K,), the pixels of each class; and the number of void pixels.

    Raises:
        ValueError: if the type is not uint8, or a value is neither a class nor void.

    Example:
        >>> class_counts(np.array([[0, 0, 2, 255]], np.uint8), num_classes=3)
        (array([2, 0, 1]), 1)
    """
    if indices.dtype != np.uint8:
        raise ValueError(expected("indices", "uint8", indices.dtype))
    counts = np.bincount(indices.reshape(-1), minlength=256).astype(np.int64)
    void, counts[ignore_index] = int(counts[ignore_index]), 0
    other = np.flatnonzero(counts[num_classes:]) + num_classes
    if len(other):
        raise ValueError(
            expected("indices", f"0 to {num_classes - 1}, or {ignore_index} for void", shorten(other.tolist()))
        )
    return counts[:num_classes], void


def enet_weights(counts: npt.ArrayLike) -> Weights:
    """Class weights ``1 / ln(1.02 + p)``, p being the share of the class among all labelled pixels.

    Source: Paszke et al., "ENet: a deep neural network architecture for real-time semantic segmentation", 2016,
    arXiv:1606.02147, with its constant 1.02. Weights lie between 1.42 (p = 1) and 50.5 (p near 0); as in
    the paper they are not normalised. An absent class gets 1, not the 50.5 of the formula.

    Args:
        counts: (K,), the pixels of each class, or (N, K), those of each image.

    Returns:
        float64 (K,).

    Raises:
        ValueError: if counts are negative or of another shape.

    Example:
        >>> enet_weights([900, 100, 0]).round(2).tolist()
        [1.53, 8.82, 1.0]
    """
    pixels = _counts(counts, (1, 2)).reshape(-1, np.shape(counts)[-1]).sum(axis=0)
    weights = np.ones(len(pixels))
    present = pixels > 0
    weights[present] = 1 / np.log(1.02 + pixels[present] / pixels.sum())
    return weights


def median_frequency_weights(counts: npt.ArrayLike) -> Weights:
    """Class weights ``median(f) / f``, f being the share of the class in the images that hold it.

    Source: Eigen and Fergus, "Predicting depth, surface normals and semantic labels with a common multi-scale
    convolutional architecture", ICCV 2015, arXiv:1411.4734: "freq(c) is the number of pixels of class c
    divided by the total number of pixels in images where c is present". These are labelled pixels here. The median is
    that of the classes that occur, and the class in the middle has weight 1; nothing else is normalised or clipped.

    Args:
        counts: (N, K), the pixels of each class in each image.

    Returns:
        float64 (K,); 1 for absent classes.

    Raises:
        ValueError: if counts are negative or of another shape.

    Example:
        >>> median_frequency_weights([[90, 10, 0, 0], [50, 0, 50, 0]]).round(3).tolist()
        [0.714, 5.0, 1.0, 1.0]
    """
    images = _counts(counts, (2,))
    pixels = images.sum(axis=0)
    pixels_around = (images > 0).T @ images.sum(axis=1)
    weights = np.ones(len(pixels))
    present = pixels > 0
    if present.any():
        frequency = pixels[present] / pixels_around[present]
        weights[present] = np.median(frequency) / frequency
    return weights


def effective_number_weights(counts: npt.ArrayLike, beta: float | None = None) -> Weights:
    r"""Class weights ``(1 - beta) / (1 - beta**n)``, the inverse effective number of samples.

    Source: Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019, arXiv:1901.05555.
    The paper's samples are images; here a sample is a pixel, and n is the number of pixels of the class. The paper
    reads beta as 1 - 1/V, V being the volume that all possible samples of a class fill: classes with far more than V
    samples get equal weights, classes with far fewer get weights like 1/n. Its values up to 0.9999 are meant for
    thousands of images; with millions of pixels they would weight all classes alike. By default V is therefore the
    mean number of pixels of the classes that occur.

    As in the paper, weights are normalised to sum to K; more exactly, the K' classes that occur sum to K', and absent
    ones have weight 1.

    Args:
        counts: (K,), the pixels of each class, or (N, K), those of each image.
        beta: 0 (all weights are 1) to below 1; None for the default above.

    Returns:
        float64 (K,).

    Raises:
        ValueError: if counts are negative or of another shape, or ``beta`` is out of range.

    Example:
        >>> effective_number_weights([900, 100, 0]).round(3).tolist()
        [0.357, 1.643, 1.0]
    """
    if beta is not None and not 0 <= beta < 1:
        raise ValueError(expected("beta", "at least 0 and below 1", beta))
    pixels = _counts(counts, (1, 2)).reshape(-1, np.shape(counts)[-1]).sum(axis=0)
    weights = np.ones(len(pixels))
    present = pixels > 0
    if not present.any() or beta == 0:
        return weights
    volume = pixels[present].mean()
    # log1p and expm1: 1 - beta**n loses every digit where beta is near 1, and so would log(beta).
    log_beta = np.log1p(-(1 - beta)) if beta is not None else (np.log1p(-1 / volume) if volume > 1 else -np.inf)
    inverse = -1 / np.expm1(pixels[present] * log_beta)
    weights[present] = inverse / inverse.mean()
    return weights


WEIGHTINGS: dict[str, Callable[[npt.ArrayLike], Weights]] = {
    "enet": enet_weights,
    "median_freq": median_frequency_weights,
    "effective": effective_number_weights,
}
"""The weightings by name: each takes the pixels of each class in each image, (N, K), and gives float64 (K,)."""


def _counts(counts: npt.ArrayLike, dimensions: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Counts as float64, which holds whole numbers to 2**53 exactly."""
    array = np.asarray(counts, np.float64)
    if array.ndim not in dimensions or array.shape[-1] == 0:
        shapes = " or ".join({1: "(K,)", 2: "(N, K)"}[number] for number in dimensions)
        raise ValueError(expected("counts", f"of shape {shapes} with K at least 1", array.shape))
    bad = array[~(np.isfinite(array) & (array >= 0))]
    if len(bad):
        raise ValueError(expected("counts", "numbers of pixels, at least 0", shorten(bad.tolist())))
    return array
