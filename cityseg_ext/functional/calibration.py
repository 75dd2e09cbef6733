"""Whether a model is right as often as it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import check_at_least, expected
from cityseg_ext.functional.confusion import NOTHING_TO_SCORE, ratio
from cityseg_ext.labels import IGNORE_INDEX

NUM_BINS = 15
"""Bins of confidence, as in Guo et al."""

_ROUNDING = 1e-6  # a softmax in float32 may exceed 1 by this


@dataclass(frozen=True)
class CalibrationCounts:
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
    confidence: npt.NDArray[np.floating],
    pred: npt.NDArray[np.uint8],
    target: npt.NDArray[np.uint8],
    num_bins: int = NUM_BINS,
    ignore_index: int = IGNORE_INDEX,
) -> CalibrationCounts:
    """Sort the labelled pixels of one image by the probability of the class predicted.

    Args:
        confidence: floats (H, W), 0 to 1, the probability of the class predicted: the greatest of all.
        pred: uint8 (H, W), predicted class indices.
        target: uint8 (H, W), true class indices, or ``ignore_index``.
        num_bins: B, bins of equal width.
        ignore_index: the value of void pixels in ``target``.

    Raises:
        ValueError: if shapes differ, or a confidence is not in 0 to 1 (void pixels excepted).

    Example:
        >>> confidence, pred, target = np.array([[0.9, 0.6]]), np.array([[0, 0]]), np.array([[0, 1]])
        >>> counts = calibration_counts(confidence, pred, target, num_bins=2)
        >>> counts.pixels.tolist(), counts.right.tolist(), round(calibration_scores(counts).ece, 2)
        ([0, 2], [0, 1], 0.25)
    """
    check_at_least("num_bins", num_bins, 1)
    if not confidence.shape == pred.shape == target.shape:
        raise ValueError(
            expected("confidence and pred", f"of the shape {target.shape}", f"{confidence.shape} and {pred.shape}")
        )
    labelled = target != ignore_index
    sure, right = confidence[labelled].astype(np.float64), (pred == target)[labelled]
    if len(sure) and not (sure.min() >= 0 and sure.max() <= 1 + _ROUNDING):  # NaN fails too
        raise ValueError(expected("confidence", "0 to 1", f"{sure.min()} to {sure.max()}"))
    bins = np.clip(np.ceil(sure * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    return CalibrationCounts(
        np.bincount(bins, minlength=num_bins).astype(np.int64),
        np.bincount(bins[right], minlength=num_bins).astype(np.int64),
        np.bincount(bins, weights=sure, minlength=num_bins).astype(np.float64),
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
        raise ValueError(NOTHING_TO_SCORE)
    accuracy, confidence = ratio(counts.right, counts.pixels), ratio(counts.confidence, counts.pixels)
    return CalibrationScores(accuracy, confidence, float(np.abs(counts.right - counts.confidence).sum() / total))
