"""How much of thin structures (poles, signs, wires, legs) a prediction finds."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected
from cityseg_ext.functional.boundary_scores import width_in_pixels, window_extremes
from cityseg_ext.functional.confusion import ratio
from cityseg_ext.labels import IGNORE_INDEX

UInt8Array = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

THIN_WIDTH = 0.005
"""How wide a thin structure is at most, as a share of the image diagonal: 11 px at 2048x1024."""


@dataclass(frozen=True)
class ThinCounts:
    """Pixels of thin structures, int64 (K,) each, by true class; ``add_up`` adds them over images.

    Attributes:
        pixels: all of them.
        found: those predicted as their class.
    """

    pixels: Counts
    found: Counts


def thin_structures(
    target: UInt8Array, width: float = THIN_WIDTH, ignore_index: int = IGNORE_INDEX
) -> npt.NDArray[np.bool_]:
    """Pixels of structures that are at most so wide.

    A pixel is of a thin structure if no square with sides of ``width + 1`` pixels that contains it lies in its class:
    the morphological opening of the class with that square removes it (J. Serra, "Image Analysis and Mathematical
    Morphology", 1982). Void and what is outside the image may be of any class, so that only what is seen to be thin
    counts.

    Args:
        target: uint8 (H, W), class indices 0 to 253, or ``ignore_index``.
        width: below 1 a share of the image's diagonal, else pixels.
        ignore_index: the value of void pixels.

    Returns:
        bool (H, W).

    Example:
        >>> thin_structures(np.array([[0, 0, 1, 0, 0]] * 5, np.uint8), width=1).tolist()[0]
        [False, False, True, False, False]
    """
    size = width_in_pixels(target.shape, width) + 1
    void = target == ignore_index
    labels = np.where(void, np.uint8(0), target + np.uint8(1))
    # Squares may reach beyond the image by all but one pixel.
    padded = cv2.copyMakeBorder(labels, size, size, size, size, cv2.BORDER_CONSTANT, value=0)
    least, greatest = window_extremes(padded.astype(np.uint8, copy=False), size)
    uniform = (least >= greatest).astype(np.uint8)
    # OpenCV puts the anchor of an even square right of its middle; the way back takes the mirrored one.
    anchor = (size - 1 - size // 2,) * 2
    wide = cv2.dilate(uniform, np.ones((size, size), np.uint8), anchor=anchor)[size:-size, size:-size]
    return (wide == 0) & ~void


def thin_counts(
    pred: UInt8Array,
    target: UInt8Array,
    num_classes: int,
    width: float = THIN_WIDTH,
    ignore_index: int = IGNORE_INDEX,
) -> ThinCounts:
    """Count what is found of the thin structures of one image.

    Args:
        pred: uint8 (H, W), predicted class indices.
        target: uint8 (H, W), true class indices, or ``ignore_index``.
        num_classes: K.
        width: as in :func:`thin_structures`.
        ignore_index: the value of void pixels in ``target``.

    Raises:
        ValueError: if shapes differ or types are not uint8.

    Example:
        >>> truth = np.array([[0, 0, 1, 0, 0]] * 4, np.uint8)
        >>> thin_recall(thin_counts(np.zeros_like(truth), truth, 2, width=1)).tolist()
        [nan, 0.0]
    """
    if pred.shape != target.shape or pred.ndim != 2:
        raise ValueError(expected("pred", f"(H, W), of the target's shape {target.shape}", pred.shape))
    if pred.dtype != np.uint8 or target.dtype != np.uint8:
        raise ValueError(expected("pred and target", "uint8", f"{pred.dtype} and {target.dtype}"))
    thin = thin_structures(target, width, ignore_index)
    labels = target[thin]
    pixels, found = (
        np.bincount(part, minlength=256)[:num_classes].astype(np.int64)
        for part in (labels, labels[pred[thin] == labels])
    )
    return ThinCounts(pixels, found)


def thin_recall(counts: ThinCounts) -> npt.NDArray[np.float64]:
    """Share of the pixels of thin structures that are found, float64 (K,); NaN where a class has none."""
    return ratio(counts.found, counts.pixels)
