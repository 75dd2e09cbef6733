"""How well a prediction follows the borders of classes: boundary IoU and boundary F."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected
from cityseg_ext.functional.confusion import joint_histogram, ratio
from cityseg_ext.labels import IGNORE_INDEX

UInt8Array = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

BAND_WIDTH = 0.005
"""Boundary IoU: share of the image diagonal, as the authors' code has it for Cityscapes (11 px at 2048x1024)."""

TOLERANCE = 0.0075
"""Boundary F: share of the image diagonal, as in Csurka et al. (17 px at 2048x1024)."""

_VOID, _OTHER = 0, 254  # marks, inside this module, beside class k as k + 1; hence at most 253 classes


@dataclass(frozen=True)
class BoundaryCounts:
    """Pixels near borders, int64 (K,) each, by class; ``add_up`` adds them over images.

    Attributes:
        band_both: pixels of the class in truth and prediction, near its border in both.
        band_true: pixels of the class near its border in the truth.
        band_pred: the same in the prediction.
        contour_true: pixels of the class beside its border in the truth.
        contour_true_met: those with such a pixel of the prediction within the tolerance.
        contour_pred: pixels of the class beside its border in the prediction.
        contour_pred_met: those with such a pixel of the truth within the tolerance.
    """

    band_both: Counts
    band_true: Counts
    band_pred: Counts
    contour_true: Counts
    contour_true_met: Counts
    contour_pred: Counts
    contour_pred_met: Counts


class BoundaryScores(NamedTuple):
    """Fractions of 1, float64 (K,) each; NaN where a class has no border in truth and prediction.

    A class whose border is in one of the two only scores 0.

    Attributes:
        iou: boundary IoU.
        f: boundary F, the harmonic mean of precision and recall.
        precision: share of the predicted contour that is met; NaN where there is none.
        recall: share of the true contour that is met; NaN where there is none.
    """

    iou: FloatArray
    f: FloatArray
    precision: FloatArray
    recall: FloatArray


def width_in_pixels(shape: tuple[int, ...], width: float) -> int:
    """A width in whole pixels, at least 1.

    Args:
        shape: (H, W) of the image.
        width: below 1, a share of the image's diagonal; from 1 on, pixels.

    Raises:
        ValueError: if the width is not above 0.

    Example:
        >>> width_in_pixels((1024, 2048), 0.005), width_in_pixels((1024, 2048), 3)
        (11, 3)
    """
    if not 0 < width < math.inf:
        raise ValueError(expected("width", "above 0: a share of the diagonal below 1, else pixels", width))
    pixels = width * math.hypot(shape[0], shape[1]) if width < 1 else width
    return max(1, round(pixels))


def boundary_counts(
    pred: UInt8Array,
    target: UInt8Array,
    num_classes: int,
    width: float = BAND_WIDTH,
    tolerance: float = TOLERANCE,
    ignore_index: int = IGNORE_INDEX,
) -> BoundaryCounts:
    """Compare the borders of one prediction with those of its truth.

    **Boundary IoU** (B. Cheng, R. Girshick, P. Dollár, A. Berg, A. Kirillov, "Boundary IoU: Improving Object-Centric
    Image Segmentation Evaluation", CVPR 2021, arXiv:2103.16562): the IoU of those pixels of a class that are at most
    ``width`` from a pixel that is not of the class. As in the authors' code distances are along rows and columns
    (Chebyshev), and what is outside the image is not of the class.

    **Boundary F** (G. Csurka, D. Larlus, F. Perronnin, "What is a good evaluation measure for semantic segmentation?",
    BMVC 2013): precision and recall of contours, where a contour pixel is met if the other contour of the class is at
    most ``tolerance`` (Euclidean) away. Contour pixels have one of another class among their 8 neighbours; the edge of
    the image is no contour. As with IoU, pixels are added over images, where the paper averages scores of images.

    **Void** is neither of a class nor not: no border runs along it, the edge of an image that ends in void included,
    and what is predicted there does not matter. Two maps that agree outside void score 1.

    Args:
        pred: uint8 (H, W), predicted class indices; values from ``num_classes`` on are no class.
        target: uint8 (H, W), true class indices, or ``ignore_index``.
        num_classes: K, 1 to 253.
        width: of the band; below 1 a share of the image's diagonal, else pixels (see :func:`width_in_pixels`).
        tolerance: in the same units.
        ignore_index: the value of void pixels in ``target``.

    Raises:
        ValueError: if shapes differ, types are not uint8, or a number is out of range.

    Example:
        >>> truth = np.array([[0, 0, 0, 0, 1, 1, 1, 1]] * 8, np.uint8)
        >>> moved = np.array([[0, 0, 0, 0, 0, 0, 1, 1]] * 8, np.uint8)
        >>> scores = boundary_scores(boundary_counts(moved, truth, 2, width=1, tolerance=1))
        >>> scores.iou.round(2).tolist(), scores.f.tolist()
        ([0.47, 0.38], [0.0, 0.0])
    """
    if pred.shape != target.shape or pred.ndim != 2:
        raise ValueError(expected("pred", f"(H, W), of the target's shape {target.shape}", pred.shape))
    if pred.dtype != np.uint8 or target.dtype != np.uint8:
        raise ValueError(expected("pred and target", "uint8", f"{pred.dtype} and {target.dtype}"))
    if not 1 <= num_classes < _OTHER:
        raise ValueError(expected("num_classes", f"1 to {_OTHER - 1}", num_classes))
    band, reach = width_in_pixels(target.shape, width), width_in_pixels(target.shape, tolerance)
    table = np.full(256, _OTHER, np.uint8)
    table[:num_classes] = np.arange(1, num_classes + 1)
    void = target == ignore_index
    true, guess = table[target], table[pred]
    true[void] = guess[void] = _VOID
    # A product with a bool keeps a label or makes it void.
    bands = [labels * _near_others(_with_ring(labels), band)[1:-1, 1:-1] for labels in (true, guess)]
    contours = [labels * _near_others(labels, 1) for labels in (true, guess)]
    own = slice(1, num_classes + 1)
    in_band, on_contour = joint_histogram(bands[1], bands[0]), joint_histogram(contours[1], contours[0])
    return BoundaryCounts(
        band_both=np.diag(in_band)[own].copy(),
        band_true=in_band.sum(axis=1)[own],
        band_pred=in_band.sum(axis=0)[own],
        contour_true=on_contour.sum(axis=1)[own],
        contour_true_met=_met(contours[0], contours[1], reach)[own],
        contour_pred=on_contour.sum(axis=0)[own],
        contour_pred_met=_met(contours[1], contours[0], reach)[own],
    )


def boundary_scores(counts: BoundaryCounts) -> BoundaryScores:
    """Scores of counts, of one image or of many added up."""
    precision = ratio(counts.contour_pred_met, counts.contour_pred)
    recall = ratio(counts.contour_true_met, counts.contour_true)
    met = np.nan_to_num(precision) + np.nan_to_num(recall)
    f = np.divide(2 * precision * recall, met, out=np.zeros(len(met)), where=met > 0)
    f[(counts.contour_true == 0) & (counts.contour_pred == 0)] = np.nan
    return BoundaryScores(
        ratio(counts.band_both, counts.band_true + counts.band_pred - counts.band_both),
        f,
        precision,
        recall,
    )


def window_extremes(labels: UInt8Array, size: int) -> tuple[UInt8Array, UInt8Array]:
    """Least and greatest label above 0 in the ``size`` x ``size`` window of every pixel.

    What is 0 or outside the image takes no part; where a window has nothing else, the least is 255 and the greatest 0.

    Example:
        >>> least, greatest = window_extremes(np.array([[2, 0, 5, 5, 5]], np.uint8), 3)
        >>> least.tolist(), greatest.tolist()
        ([[2, 2, 5, 5, 5]], [[2, 5, 5, 5, 5]])
    """
    kernel = np.ones((size, size), np.uint8)
    least = cv2.erode(np.where(labels == _VOID, np.uint8(255), labels), kernel)
    return least.astype(np.uint8, copy=False), cv2.dilate(labels, kernel).astype(np.uint8, copy=False)


def _near_others(labels: UInt8Array, distance: int) -> npt.NDArray[np.bool_]:
    """Whether a pixel of another label, void aside, is at most so many rows and columns away."""
    least, greatest = window_extremes(labels, 2 * distance + 1)
    return (least != labels) | (greatest != labels)


def _with_ring(labels: UInt8Array) -> UInt8Array:
    """Labels with one more pixel around, which is of no class; void where the image ends in void."""
    ring = cv2.copyMakeBorder(labels, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    ring[ring != _VOID] = _OTHER
    ring[1:-1, 1:-1] = labels
    return ring.astype(np.uint8, copy=False)


def _met(contour: UInt8Array, other: UInt8Array, reach: int) -> Counts:
    """How many contour pixels of each label have one of the other contour within reach, int64 (256,)."""
    padded = cv2.copyMakeBorder(other, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=_VOID)
    rows, columns = np.divmod(np.flatnonzero(contour), contour.shape[1])
    labels = contour[rows, columns]
    places = (rows + reach) * padded.shape[1] + columns + reach
    flat, met = padded.ravel(), np.zeros(256, np.int64)
    for down, right in _disc(reach):  # nearest first: of a good prediction few pixels are left after a few steps
        found = flat[places + (down * padded.shape[1] + right)] == labels
        met += np.bincount(labels[found], minlength=256)
        labels, places = labels[~found], places[~found]
        if not len(labels):
            break
    return met


@lru_cache(maxsize=8)
def _disc(radius: int) -> tuple[tuple[int, int], ...]:
    """Offsets at most ``radius`` long, the shortest first."""
    side = range(-radius, radius + 1)
    offsets = [(down, right) for down in side for right in side if down**2 + right**2 <= radius**2]
    return tuple(sorted(offsets, key=lambda offset: offset[0] ** 2 + offset[1] ** 2))
