"""Resizing label maps so that they stay under their photograph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected

Labels = npt.NDArray[np.generic]


def resize_labels(labels: Labels, height: int, width: int) -> Labels:
    """Resize a label map by nearest neighbour, centre on centre.

    Target pixel i shows source pixel ``floor((i + 0.5) * source / target)``, the one under its centre, which is where a
    bilinear or area resize of the photograph looks too. ``cv2.INTER_NEAREST``, which mmcv uses, shows
    ``floor(i * source / target)``: that moves labels against their photograph by up to half a target pixel.
    ``cv2.INTER_NEAREST_EXACT`` means the same as this function, but rounds in 0.2 % of the pixels.

    Args:
        labels: (H, W) of any type.
        height: rows wanted, at least 1.
        width: columns wanted, at least 1.

    Returns:
        (height, width) of the same type; no value that was not there before.

    Raises:
        ValueError: if ``labels`` is not a map, or a side is less than 1.

    Example:
        >>> resize_labels(np.array([[1, 2, 3, 4]], np.uint8), 1, 2).tolist()
        [[2, 4]]
    """
    if labels.ndim != 2:
        raise ValueError(expected("labels", "of shape (H, W)", labels.shape))
    if min(height, width) < 1:
        raise ValueError(expected("height and width", "at least 1", f"{height} and {width}"))
    rows, columns = (
        (2 * np.arange(wanted) + 1) * given // (2 * wanted)
        for given, wanted in zip(labels.shape, (height, width), strict=True)
    )
    return labels[rows].take(columns, axis=1)
