"""Where classes meet."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def border_distance(indices: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """How far every pixel is from the nearest pixel of another class.

    Args:
        indices: uint8 (H, W); void counts as a class.

    Returns:
        float32 (H, W), Euclidean distance in pixels, at least 1; infinite where there is one class only.

    Example:
        >>> border_distance(np.array([[3, 3, 3, 7]], np.uint8)).tolist()
        [[3.0, 2.0, 1.0, 1.0]]
    """
    distance = np.zeros(indices.shape, np.float32)
    present = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    if len(present) < 2:
        return np.full(indices.shape, np.inf, np.float32)
    for value in present:
        inside = (indices == value).astype(np.uint8)
        distance += cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance


def border_band(indices: npt.NDArray[np.uint8], width: float = 3.0) -> npt.NDArray[np.bool_]:
    """Pixels at most ``width`` pixels from another class, bool (H, W).

    Example:
        >>> border_band(np.array([[3, 3, 3, 7]], np.uint8), width=2).tolist()
        [[False, True, True, True]]
    """
    return border_distance(indices) <= width
