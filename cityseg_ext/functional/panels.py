"""Pictures of a segmentation that a person can judge: class colours, panels side by side, a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected
from cityseg_ext.functional.color_mask import encode_color_mask
from cityseg_ext.functional.overlay import overlay
from cityseg_ext.labels import Color

UInt8Array = npt.NDArray[np.uint8]

PANEL_GAP = 6
"""Pixels between pictures side by side."""

_INK, _PAPER = (40, 40, 40), 255
_ROW = 20  # pixels of a line of text
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def with_legend(
    picture: UInt8Array, indices: UInt8Array, classes: Sequence[str], palette: Sequence[Color]
) -> UInt8Array:
    """A picture above a legend of the classes that occur in a class map.

    Args:
        picture: uint8 (H, W, 3), RGB.
        indices: uint8 class indices, of any size.
        classes: class names.
        palette: RGB colours of the classes.

    Returns:
        uint8 (H', W, 3), RGB.

    Example:
        >>> with_legend(np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8), ['road'], [(128, 64, 128)]).shape
        (66, 60, 3)
    """
    return np.concatenate([picture, _legend(_entries([indices], classes, palette), picture.shape[1])], axis=0)


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
    tiles = {"photo": photo} | {title: encode_color_mask(indices, palette) for title, indices in maps.items()}
    row = _side_by_side([_titled(title, tile) for title, tile in tiles.items()])
    return np.concatenate([row, _legend(_entries(list(maps.values()), classes, palette), row.shape[1])], axis=0)


def label_panel(
    photo: UInt8Array,
    indices: UInt8Array,
    classes: Sequence[str],
    palette: Sequence[Color],
    heading: str = "",
    alpha: float = 0.5,
) -> UInt8Array:
    """Photograph, labels over the photograph, and labels, under a heading and above a legend.

    Args:
        photo: uint8 (H, W, 3), RGB.
        indices: uint8 (H, W), class indices.
        classes: class names.
        palette: RGB colours of the classes.
        heading: a line above all; its beginning is cut off where it is too long.
        alpha: how much of the class colour there is in the overlay, 0 to 1.

    Returns:
        uint8 (H', W', 3), RGB.

    Example:
        >>> photo, truth = np.zeros((64, 128, 3), np.uint8), np.zeros((64, 128), np.uint8)
        >>> label_panel(photo, truth, ['road'], [(128, 64, 128)], 'aachen.png').shape
        (130, 396, 3)
    """
    tiles = {
        "photo": photo,
        "labels over photo": overlay(photo, indices, palette, alpha),
        "labels": encode_color_mask(indices, palette),
    }
    row = _side_by_side([_titled(title, tile) for title, tile in tiles.items()])
    row = _titled(_fitting(heading, row.shape[1]), row)
    return np.concatenate([row, _legend(_entries([indices], classes, palette), row.shape[1])], axis=0)


def enlarge(picture: UInt8Array, least: int = 256) -> UInt8Array:
    """Small photographs and class maps as blocks of equal pixels, so that a person sees the pixels.

    Args:
        picture: uint8 (H, W) or (H, W, C).
        least: the shorter side is enlarged by the greatest whole factor that keeps it within this many pixels.

    Returns:
        The same type and dimensions; the picture itself if it is large enough.

    Example:
        >>> enlarge(np.zeros((100, 120, 3), np.uint8)).shape
        (200, 240, 3)
    """
    factor = max(1, least // min(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else picture


def reduced(picture: UInt8Array, width: int, interpolation: int = cv2.INTER_AREA) -> UInt8Array:
    """A picture, or with ``cv2.INTER_NEAREST`` a class map, that is no wider than so many pixels.

    Args:
        picture: uint8 (H, W) or (H, W, C).
        width: that it may have.
        interpolation: OpenCV's, of one that is wider.

    Returns:
        The same type and proportions; the picture itself if it is narrow enough.

    Example:
        >>> reduced(np.zeros((100, 200, 3), np.uint8), 50).shape
        (25, 50, 3)
    """
    if picture.shape[1] <= width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return cv2.resize(picture, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def contact_sheet(titled: Sequence[tuple[str, UInt8Array]], columns: int = 4, width: int = 2400) -> UInt8Array:
    """Many pictures on one sheet, in rows, each under its title.

    Args:
        titled: title and picture, uint8 (H, W, 3), of each.
        columns: pictures in a row.
        width: of the sheet at most; pictures that are too wide for that are reduced.

    Returns:
        uint8 (H', W', 3).

    Raises:
        ValueError: if there is no picture.

    Example:
        >>> contact_sheet([("1", np.zeros((100, 200, 3), np.uint8))] * 3, columns=2, width=206).shape
        (146, 206, 3)
    """
    if not titled:
        raise ValueError(expected("titled", "at least one picture", "none"))
    columns = min(columns, len(titled))
    room = (width - PANEL_GAP * (columns - 1)) // columns
    pictures = [reduced(picture, room) for _, picture in titled]
    names = [title for title, _ in titled]
    tiles = [_titled(_fitting(name, tile.shape[1]), tile) for name, tile in zip(names, pictures, strict=True)]
    cell_height, cell_width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    rows = []
    for start in range(0, len(tiles), columns):
        cells = [_padded(tile, cell_height, cell_width) for tile in tiles[start : start + columns]]
        blank = [np.full_like(cells[0], _PAPER)] * (columns - len(cells))
        rows += [_side_by_side(cells + blank), np.full((PANEL_GAP, 1, 3), _PAPER, np.uint8)]
    return np.concatenate([np.broadcast_to(row, (row.shape[0], rows[0].shape[1], 3)) for row in rows[:-1]], axis=0)


def _side_by_side(tiles: Sequence[UInt8Array]) -> UInt8Array:
    gap = np.full((tiles[0].shape[0], PANEL_GAP, 3), _PAPER, np.uint8)
    return np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)


def _padded(tile: UInt8Array, height: int, width: int) -> UInt8Array:
    canvas = np.full((height, width, 3), _PAPER, np.uint8)
    canvas[: tile.shape[0], : tile.shape[1]] = tile
    return canvas


def _titled(title: str, picture: UInt8Array) -> UInt8Array:
    head = np.full((_ROW, picture.shape[1], 3), _PAPER, np.uint8)
    cv2.putText(head, title, (2, _ROW - 6), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    return np.concatenate([head, picture], axis=0)


def _fitting(text: str, width: int) -> str:
    """The end of a text, as much of it as fits above a picture: names differ most in their ends."""
    shown = text
    while text and cv2.getTextSize(shown, _FONT, 0.45, 1)[0][0] > width - 4:
        text = text[1:]
        shown = f"...{text}"
    return shown


def _entries(maps: Sequence[UInt8Array], classes: Sequence[str], palette: Sequence[Color]) -> list[tuple[str, Color]]:
    """Name and colour of what occurs in class maps."""
    present = sorted({int(value) for indices in maps for value in np.unique(indices)})
    entries = [(classes[index], palette[index]) for index in present if index < len(classes)]
    if any(index >= len(classes) for index in present):
        entries.append(("void", (0, 0, 0)))
    return entries


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
    canvas = np.full((PANEL_GAP + _ROW * (line + 1), width, 3), _PAPER, np.uint8)
    for left, line, name, color in cells:
        top = PANEL_GAP + _ROW * line
        cv2.rectangle(canvas, (left, top + 2), (left + 12, top + 14), tuple(int(part) for part in color), -1)
        cv2.putText(canvas, name, (left + 16, top + 13), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
    return canvas
