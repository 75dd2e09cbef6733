"""Confusion counts, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected, shorten
from cityseg_ext.labels import IGNORE_INDEX

UInt8Array = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

NOTHING_TO_SCORE = "Expected at least one labelled pixel to score, but every pixel is void or there is no image."
"""The error message of everything that turns counts into scores."""

_CHUNK = 1 << 23  # cv2.calcHist counts in float32, which is exact below 2**24


def confusion_counts(
    pred: UInt8Array, target: UInt8Array, num_classes: int, ignore_index: int = IGNORE_INDEX
) -> Counts:
    """Count the pixels of every (true class, predicted class) pair.

    Args:
        pred: uint8 (H, W), predicted class indices 0 .. K-1. What is predicted under void does not matter.
        target: uint8 (H, W), true class indices 0 .. K-1, or ``ignore_index``.
        num_classes: K, 1 to 255.
        ignore_index: the value of void pixels in ``target``.

    Returns:
        int64 (K, K); row: true class, column: predicted class.

    Raises:
        ValueError: if shapes differ, types are not uint8, or a value is out of range (void pixels excepted).

    Example:
        >>> pred, target = np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, 255]], np.uint8)
        >>> confusion_counts(pred, target, num_classes=2).tolist()
        [[1, 1], [0, 0]]
    """
    counts = joint_histogram(pred, target)
    counts[ignore_index] = 0
    _check_range("target", counts.sum(axis=1), num_classes, f"or {ignore_index} for void")
    _check_range("pred", counts.sum(axis=0), num_classes)
    return counts[:num_classes, :num_classes].copy()


def joint_histogram(pred: UInt8Array, target: UInt8Array) -> Counts:
    """Count the pixels of every pair of values, whatever they mean.

    Args:
        pred: uint8 (H, W).
        target: uint8 (H, W).

    Returns:
        int64 (256, 256); row: value in ``target``, column: value in ``pred``.

    Raises:
        ValueError: if shapes differ or types are not uint8.

    Example:
        >>> joint_histogram(np.array([[0, 1, 1]], np.uint8), np.array([[7, 7, 255]], np.uint8))[7, :2].tolist()
        [1, 1]
    """
    if pred.shape != target.shape:
        raise ValueError(expected("pred", f"of the target's shape {target.shape}", pred.shape))
    if pred.dtype != np.uint8 or target.dtype != np.uint8:
        raise ValueError(expected("pred and target", "uint8", f"{pred.dtype} and {target.dtype}"))
    truth, guess = np.ascontiguousarray(target).reshape(-1, 1), np.ascontiguousarray(pred).reshape(-1, 1)
    counts = np.zeros((256, 256), np.int64)
    for start in range(0, len(truth), _CHUNK):
        pair = [truth[start : start + _CHUNK], guess[start : start + _CHUNK]]
        # All 256 x 256 pairs cost no more than K x K, and whatever is out of range is seen instead of dropped.
        counts += cv2.calcHist(pair, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(np.int64)
    return counts


def restrict_counts(counts: Counts, members: Sequence[int]) -> Counts:
    """Counts of some of the classes: pixels of other true classes are void, predictions of other classes misses.

    So a model of 29 classes is scored on 19: what it calls a tunnel is a miss of whatever is there, as in the official
    evaluation, and no pixel is removed because of what was predicted.

    Args:
        counts: int64 (K, K); row: true class, column: predicted class.
        members: the classes wanted, in the order wanted.

    Returns:
        int64 (M, M + 1); the last column holds the predictions of classes that are no members.

    Example:
        >>> restrict_counts(np.array([[5, 1, 2], [0, 3, 0], [9, 9, 9]]), [1, 0]).tolist()
        [[3, 0, 0], [1, 5, 2]]
    """
    rows = counts[list(members)]
    inside = rows[:, list(members)]
    return np.column_stack([inside, rows.sum(axis=1) - inside.sum(axis=1)])


def rename_counts(counts: Counts, rows: npt.ArrayLike, columns: npt.ArrayLike, size: int) -> Counts:
    """Counts under other numbers: the same as translating every pixel first, at no cost.

    Args:
        counts: int64 (K, L).
        rows: (K,) new number of each row, below ``size``; rows of the same number are added.
        columns: (L,) new number of each column.
        size: of the result.

    Returns:
        int64 (size, size).

    Example:
        >>> rename_counts(np.array([[1, 2], [3, 4]]), [0, 0], [1, 0], 2).tolist()
        [[6, 4], [0, 0]]
    """
    renamed = np.zeros((size, size), np.int64)
    row, column = np.nonzero(counts)  # most pairs never occur
    np.add.at(renamed, (np.asarray(rows)[row], np.asarray(columns)[column]), counts[row, column])
    return renamed


def _check_range(name: str, histogram: Counts, num_classes: int, extra: str = "") -> None:
    bad = np.flatnonzero(histogram[num_classes:]) + num_classes
    if len(bad):
        found = shorten([f"{value} ({histogram[value]} pixels)" for value in bad])
        raise ValueError(expected(name, f"class indices 0 to {num_classes - 1} {extra}".strip(), found))


@dataclass(frozen=True)
class SegmentationScores:
    """Scores as fractions of 1, not rounded; NaN where a class is absent.

    A class is **absent** when it has no pixel in the truth and none in the prediction (void aside): then IoU and Dice
    are 0 / 0, given as NaN, and left out of the means, as the official Cityscapes evaluation does. A class that is
    predicted but not in the truth scores 0 and does count. ``acc`` (recall) is NaN where the truth has no pixel.

    Attributes:
        iou: (K,) intersection over union, TP / (TP + FP + FN).
        dice: (K,) Dice coefficient = F1, 2 TP / (2 TP + FP + FN).
        acc: (K,) share of a class's true pixels that are found (recall), TP / (TP + FN).
        precision: (K,) share of the pixels predicted as a class that are it, TP / (TP + FP); NaN where none is.
        overall_acc: share of all labelled pixels that are right.
    """

    iou: npt.NDArray[np.float64]
    dice: npt.NDArray[np.float64]
    acc: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    overall_acc: float

    @property
    def num_averaged(self) -> int:
        """How many classes the mean IoU and the mean Dice are taken over."""
        return int(np.count_nonzero(~np.isnan(self.iou)))


def segmentation_scores(counts: Counts) -> SegmentationScores:
    """Scores of a confusion matrix.

    Args:
        counts: int64 (K, K); row: true class, column: predicted class. Further columns hold predictions that are none
            of the K classes (see :func:`restrict_counts`): misses of the true class, and of no other concern.

    Raises:
        ValueError: if no pixel was counted: there is nothing to score.

    Example:
        >>> scores = segmentation_scores(np.array([[3, 1], [0, 0]]))
        >>> scores.iou.tolist(), scores.overall_acc, scores.num_averaged
        ([0.75, 0.0], 0.75, 2)
    """
    total = int(counts.sum())
    if total == 0:
        raise ValueError(NOTHING_TO_SCORE)
    hit, true, guessed = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)[: len(counts)]
    return SegmentationScores(
        iou=ratio(hit, true + guessed - hit),
        dice=ratio(2 * hit, true + guessed),
        acc=ratio(hit, true),
        precision=ratio(hit, guessed),
        overall_acc=int(hit.sum()) / total,
    )


def mean_present(values: npt.NDArray[np.float64]) -> float:
    """Mean over the classes that are not absent (NaN); NaN if all are."""
    present = values[~np.isnan(values)]
    return float(np.mean(present)) if len(present) else float("nan")


def ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Quotients, (K,); NaN where the denominator is 0.

    Example:
        >>> ratio(np.array([1, 0]), np.array([2, 0])).tolist()
        [0.5, nan]
    """
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
