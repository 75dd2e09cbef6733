"""Where crops can be that keep what an image was drawn for."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.labels import IGNORE_INDEX


def label_histogram(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The pixels of each value 0 to 255, void left out: int64 (256,).

    OpenCV counts five times as fast as ``np.bincount``; in float32, which is exact up to 2**24 pixels of a class.

    Example:
        >>> label_histogram(np.array([[0, 2], [2, 255]], np.uint8))[:3].tolist()
        [1, 0, 2]
    """
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).reshape(-1).astype(np.int64)
    counts[IGNORE_INDEX] = 0
    return counts


def windows_with(mask: npt.NDArray[np.bool_], height: int, width: int, least: float) -> npt.NDArray[np.bool_]:
    """Where windows can be that hold at least so many pixels of a mask; else those that hold most.

    All positions are looked at, by an integral image: one of these at random is what endless retries would find, and
    there is no bad luck.

    Args:
        mask: bool (H, W).
        height, width: of the window, at most H and W.
        least: how many pixels.

    Returns:
        bool (H - height + 1, W - width + 1), true for the top left corners of such windows; at least one is.

    Example:
        >>> windows_with(np.array([[False, False, True]]), height=1, width=2, least=1).tolist()
        [[False, True]]
    """
    sums = cv2.integral(mask.view(np.uint8))
    rows = sums[height:] - sums[:-height]
    held = rows[:, width:] - rows[:, :-width]
    return np.asarray(held >= min(least, held.max()))


def nth_true(mask: npt.NDArray[np.bool_], number: int) -> tuple[int, int]:
    """Row and column of a true pixel of (H, W), counted row by row from 0; faster than listing all of them.

    Example:
        >>> nth_true(np.array([[True, False], [True, True]]), 2)
        (1, 1)
    """
    ends = np.cumsum(np.count_nonzero(mask, axis=1))
    row = int(np.searchsorted(ends, number, side="right"))
    before = int(ends[row - 1]) if row else 0
    return row, int(np.flatnonzero(mask[row])[number - before])
