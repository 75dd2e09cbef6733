"""Resizing label maps so that they stay under their photograph."""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected

Labels = npt.NDArray[np.uint8]

_SAMPLES = 4  # along each side of a target pixel: even, so that neither half of it counts more


def resize_labels(labels: Labels, height: int, width: int) -> Labels:
    """Resize a label map, centre on centre; where that shrinks it, a target pixel shows what most of it covers.

    A bilinear or area resize of the photograph looks at the same places. ``cv2.INTER_NEAREST``, which mmcv uses, shows
    source pixel ``floor(i * source / target)``: that moves labels against their photograph by up to half a target
    pixel, and at exactly one half even nearest neighbour centre on centre is off by half a source pixel.

    The vote is taken over 4 x 4 points of the target pixel; of equals, the label under its centre wins, and else the
    smallest. Where neither side shrinks, the label under the centre is shown without a vote.

    Args:
        labels: uint8 (H, W).
        height: rows wanted, at least 1.
        width: columns wanted, at least 1.

    Returns:
        uint8 (height, width); no value that was not there before.

    Raises:
        ValueError: if ``labels`` is not a map of bytes, or a side is less than 1.

    Example:
        >>> resize_labels(np.array([[1, 1, 1, 2, 2, 2]], np.uint8), 1, 2).tolist()
        [[1, 2]]
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(expected("labels", "uint8 of shape (H, W)", f"{labels.dtype} of {labels.shape}"))
    if min(height, width) < 1:
        raise ValueError(expected("height and width", "at least 1", f"{height} and {width}"))
    rows, columns = _places(labels.shape[0], height, 1)[:, 0], _places(labels.shape[1], width, 1)[:, 0]
    result = labels[rows].take(columns, axis=1)
    if height >= labels.shape[0] and width >= labels.shape[1]:
        return result
    reach = [2 * ceil(given / wanted / 2) + 1 for given, wanted in zip(labels.shape, (height, width), strict=True)]
    window = np.ones(reach, np.uint8)
    mixed = cv2.dilate(labels, window) != cv2.erode(labels, window)
    places = np.flatnonzero(mixed[rows].take(columns, axis=1))  # np.nonzero takes six times as long
    if len(places):
        y, x = np.divmod(places, width)
        down, across = _places(labels.shape[0], height, _SAMPLES)[y], _places(labels.shape[1], width, _SAMPLES)[x]
        result[y, x] = _most_frequent(labels[down[:, :, None], across[:, None, :]].reshape(len(y), -1), result[y, x])
    return result


def _places(given: int, wanted: int, points: int) -> npt.NDArray[np.int64]:
    """Source indices, (wanted, points), under points at even distances in each target pixel; in whole numbers."""
    middles = 2 * np.arange(wanted * points).reshape(wanted, points) + 1
    return middles * given // (2 * wanted * points)


def _most_frequent(votes: Labels, preferred: Labels) -> Labels:
    """The most frequent value of each row of (n, votes); of equals ``preferred`` (n,), else the smallest."""
    winner = preferred.copy()
    most = (votes == preferred[:, None]).sum(1, dtype=np.uint8)
    open_ = np.flatnonzero(most <= votes.shape[1] // 2)  # no other can have more than the rest
    votes, most = votes[open_], most[open_]
    for value in np.unique(votes):
        count = (votes == value).sum(1, dtype=np.uint8)
        better = count > most
        winner[open_[better]] = value
        most[better] = count[better]
    return winner
