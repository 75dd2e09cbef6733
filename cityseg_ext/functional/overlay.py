"""Class colours over a photograph."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected
from cityseg_ext.functional.color_mask import encode_color_mask
from cityseg_ext.labels import Color

UInt8Array = npt.NDArray[np.uint8]

_STRIPE = 10  # pixels from one line of the hatch to the next


def overlay(photo: UInt8Array, indices: UInt8Array, palette: Sequence[Color], alpha: float = 0.5) -> UInt8Array:
    """Class colours over the photograph, with a thin line in a lighter colour of its class around each region.

    What is no class is void: the photograph stays as it is there, hatched with black and white lines, which no class
    colour looks like on any ground.

    Args:
        photo: uint8 (H, W, 3), RGB.
        indices: uint8 (H, W), class indices.
        palette: RGB colours of the classes.
        alpha: how much of the class colour there is, 0 (the photograph) to 1 (the colour).

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: if the shapes differ, or alpha is not between 0 and 1.

    Example:
        >>> photo, indices = np.full((1, 4, 3), 200, np.uint8), np.zeros((1, 4), np.uint8)
        >>> overlay(photo, indices, [(100, 0, 50)], alpha=0.25)[0, 0].tolist()
        [175, 150, 162]
    """
    if photo.shape != (*indices.shape, 3):
        raise ValueError(expected("indices", f"of the photograph's size {photo.shape[:2]}", indices.shape))
    if not 0 <= alpha <= 1:
        raise ValueError(expected("alpha", "from 0 to 1", alpha))
    colors = encode_color_mask(indices, palette)
    picture = cv2.addWeighted(photo, 1 - alpha, colors, alpha, 0).astype(np.uint8, copy=False)
    void = indices >= len(palette)
    if void.any():  # not in predictions, for which the hatch would take most of the time
        picture = np.where(void[..., None], _hatch(photo), picture)
    borders = _borders(indices)
    picture[borders] = colors[borders] // 2 + 127
    return picture


def _hatch(photo: UInt8Array) -> UInt8Array:
    """Diagonal lines, each black beside white, so that one of the two shows on any ground."""
    height, width = photo.shape[:2]
    phase = (np.add.outer(np.arange(height), np.arange(width)) % _STRIPE)[..., None]
    return np.where(phase == 0, np.uint8(0), np.where(phase == 1, np.uint8(255), photo))


def _borders(indices: UInt8Array) -> npt.NDArray[np.bool_]:
    """True in the last pixel of each region, to the right and downwards."""
    borders = np.zeros(indices.shape, bool)
    borders[:, :-1] |= indices[:, :-1] != indices[:, 1:]
    borders[:-1] |= indices[:-1] != indices[1:]
    return borders
