"""Whether a model is right as often as it says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import check_at_least, expected
from cityseg_ext.functional.confusion import ratio
from cityseg_ext.labels import IGNORE_INDEX

NUM_BINS = 15
"""Bins of confidence, as in Guo et al."""


class CalibrationCounts(NamedTuple):
    """Pixels by confidence, (B,) each: bin b holds confidences above b / B, up to (b + 1) / B.

    Attributes:
        pixels: int64, labelled pixels.
        right: int64, those predicted as they are labelled.
        confidence: float64, the sum of their confidences.
    """

    pixels: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]


class CalibrationScores(NamedTuple):
    """The reliability curve, float64 (B,) each, NaN where a bin is empty; and its summary.

    Attributes:
        accuracy: share of right pixels of each bin.
        confidence: mean confidence of each bin.
        ece: expected calibration error, 0 (right as often as it says) to 1.
    """

    accuracy: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    ece: float


def calibration_counts(
    probabilities: npt.NDArray[np.floating],
    target: npt.NDArray[np.uint8],
    num_bins: int = NUM_BINS,
    ignore_index: int = IGNORE_INDEX,
) -> CalibrationCounts:
    """Sort the labelled pixels of one image by the probability of the class predicted.

    Args:
        probabilities: floats (C, H, W), 0 to 1, that add up to 1 over C. The greatest is the prediction.
        target: uint8 (H, W), true class indices, or ``ignore_index``.
        num_bins: B, bins of equal width.
        ignore_index: the value of void pixels in ``target``.

    Raises:
        ValueError: if shapes differ, or a probability is not in 0 to 1 (void pixels excepted).

    Example:
        >>> probabilities = np.array([[[0.9, 0.6]], [[0.1, 0.4]]])
        >>> counts = calibration_counts(probabilities, np.array([[0, 1]], np.uint8), num_bins=2)
        >>> counts.pixels.tolist(), counts.right.tolist(), round(calibration_scores(counts).ece, 2)
        ([0, 2], [0, 1], 0.25)
    """
    check_at_least("num_bins", num_bins, 1)
    if probabilities.ndim != 3 or probabilities.shape[1:] != target.shape:
        raise ValueError(expected("probabilities", f"(C, H, W), H and W as in {target.shape}", probabilities.shape))
    labelled = target != ignore_index
    confidence = probabilities.max(axis=0)[labelled].astype(np.float64)
    right = probabilities.argmax(axis=0)[labelled] == target[labelled]
    if len(confidence) and not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-6):  # NaN fails too
        raise ValueError(expected("probabilities", "0 to 1", f"{confidence.min()} to {confidence.max()}"))
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    return CalibrationCounts(
        np.bincount(bins, minlength=num_bins).astype(np.int64),
        np.bincount(bins[right], minlength=num_bins).astype(np.int64),
        np.bincount(bins, weights=confidence, minlength=num_bins).astype(np.float64),
    )


def calibration_scores(counts: CalibrationCounts) -> CalibrationScores:
    """The reliability curve, and the expected calibration error of C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger.

    "On Calibration of Modern Neural Networks", ICML 2017, equation 3: the mean over pixels of the difference between
    accuracy and mean confidence of the bin that the pixel is in. Pixels of all images count alike.

    Raises:
        ValueError: if no pixel was counted.
    """
    total = int(counts.pixels.sum())
    if total == 0:
        raise ValueError("Expected at least one labelled pixel to score, but every pixel is void or there is no image.")
    accuracy, confidence = ratio(counts.right, counts.pixels), ratio(counts.confidence, counts.pixels)
    return CalibrationScores(accuracy, confidence, float(np.abs(counts.right - counts.confidence).sum() / total))
