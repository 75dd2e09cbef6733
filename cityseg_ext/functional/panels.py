"""Pictures of a segmentation that a person can judge: class colours, panels side by side, a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.functional.color_mask import encode_color_mask
from cityseg_ext.labels import Color

UInt8Array = npt.NDArray[np.uint8]

_INK, _PAPER, _GAP = (40, 40, 40), 255, 6
_ROW = 20  # pixels of a line of text
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def comparison_panel(
    photo: UInt8Array,
    maps: dict[str, UInt8Array],
    classes: Sequence[str],
    palette: Sequence[Color],
) -> UInt8Array:
    """The photograph and class maps side by side under their titles, above a legend of the classes that occur.

    Args:
        photo: uint8 (H, W, 3), RGB.
        maps: title -> uint8 (H, W) class indices; what is no class is black.
        classes: class names.
        palette: RGB colours of the classes.

    Returns:
        uint8 (H', W', 3), RGB.

    Example:
        >>> photo, truth = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
        >>> comparison_panel(photo, {'truth': truth}, ['road'], [(128, 64, 128)]).shape
        (86, 126, 3)
    """
    tiles = [_titled("photo", photo)]
    tiles += [_titled(title, encode_color_mask(indices, palette)) for title, indices in maps.items()]
    gap = np.full((tiles[0].shape[0], _GAP, 3), _PAPER, np.uint8)
    row = np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)
    present = sorted({int(value) for indices in maps.values() for value in np.unique(indices)})
    entries = [(classes[index], palette[index]) for index in present if index < len(classes)]
    if any(index >= len(classes) for index in present):
        entries.append(("void", (0, 0, 0)))
    return np.concatenate([row, _legend(entries, row.shape[1])], axis=0)


def _titled(title: str, picture: UInt8Array) -> UInt8Array:
    head = np.full((_ROW, picture.shape[1], 3), _PAPER, np.uint8)
    cv2.putText(head, title, (2, _ROW - 6), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    return np.concatenate([head, picture], axis=0)


def _legend(entries: Sequence[tuple[str, Color]], width: int) -> UInt8Array:
    """Coloured squares with names, in as many lines as the width asks for."""
    cells: list[tuple[int, int, str, Color]] = []
    left, line = 2, 0
    for name, color in entries:
        needed = 26 + cv2.getTextSize(name, _FONT, 0.4, 1)[0][0]
        if left + needed > width and left > 2:
            left, line = 2, line + 1
        cells.append((left, line, name, color))
        left += needed
    canvas = np.full((_GAP + _ROW * (line + 1), width, 3), _PAPER, np.uint8)
    for left, line, name, color in cells:
        top = _GAP + _ROW * line
        cv2.rectangle(canvas, (left, top + 2), (left + 12, top + 14), tuple(int(part) for part in color), -1)
        cv2.putText(canvas, name, (left + 16, top + 13), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
    return canvas
