"""Colour masks that were smoothed or saved as JPEG: telling confident pixels from mixed ones, and resolving these."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected, shorten
from cityseg_ext.functional.mask_decoder import decide
from cityseg_ext.functional.nearest_color import nearest_colors
from cityseg_ext.labels import COLORS, Color

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

_CLOSE = 16  # levels of a channel by which JPEG moves the inside of an area
_FAR, _FLAT = 40, 12  # a colour this far from all others, on 7 x 7 pixels that differ by no more, was drawn on purpose
_SHOWN = 4  # pixels near a colour that a mask must have, or no mixed pixel of it is of that colour
_DOUBT = 0.6  # probability below which a decision is a guess
_LOOKED_AT = 1 << 12


def check_palette(color_to_index: Mapping[Color, int]) -> None:
    """Raise ``ValueError`` unless all colours are those of Cityscapes, which the network knows."""
    foreign = [color for color in color_to_index if color not in COLORS]
    if foreign:
        raise ValueError(
            expected(
                "color_to_index",
                "of Cityscapes colours only with mode='robust', which was trained for these",
                shorten(foreign),
                "Use mode='nearest', or save the masks as PNG without smoothing and use mode='exact'.",
            )
        )


def looks_painted(mask: UInt8Array, color_to_index: Mapping[Color, int]) -> bool:
    """Whether a picture can be a colour mask, smoothed or saved as JPEG perhaps; a photograph cannot.

    Of masks, at least 3 in 10 pixels are within 4 of a colour of the table in every channel (measured down to 128 x 128
    at JPEG quality 30); of photographs of streets at most 3 in 100. Asked for is 1 in 10, of some thousand pixels.

    Args:
        mask: uint8 (H, W, 3 or 4), RGB.
        color_to_index: the table.

    Example:
        >>> looks_painted(np.full((2, 2, 3), 130, np.uint8), {(128, 128, 128): 0})
        True
        >>> looks_painted(np.full((2, 2, 3), 140, np.uint8), {(128, 128, 128): 0})
        False
    """
    step = max(1, int((mask.shape[0] * mask.shape[1] / _LOOKED_AT) ** 0.5))
    pixels = mask[::step, ::step, :3].reshape(-1, 1, 3).astype(np.int16)
    distance = np.abs(pixels - np.array(list(color_to_index), np.int16)).max(axis=2).min(axis=1)
    return bool((distance <= 4).mean() >= 0.1)


def pack_colors(pixels: UInt8Array) -> npt.NDArray[np.uint32]:
    """Three channels of uint8 (H, W, 3 or 4) as one little-endian uint32 (H, W), first channel lowest."""
    four = cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA) if pixels.shape[2] == 3 else np.array(pixels, order="C")
    packed = four.view("<u4")[..., 0]
    packed &= 0xFFFFFF
    return packed


def nearest_classes(mask: UInt8Array, color_to_index: Mapping[Color, int]) -> UInt8Array:
    """The class of the nearest colour of the table.

    Args:
        mask: uint8 (H, W, 3), RGB.
        color_to_index: RGB colour -> class index.

    Returns:
        uint8 (H, W).
    """
    classes = np.fromiter(color_to_index.values(), np.uint8, len(color_to_index))
    return classes.take(nearest_colors(pack_colors(mask), tuple(color_to_index)))


def resolve_mixed_pixels(
    mask: UInt8Array, inexact: BoolArray, color_to_index: Mapping[Color, int], unknown: int, effort: str
) -> tuple[UInt8Array, BoolArray]:
    """The class of every pixel of a mask whose colours were mixed.

    Args:
        mask: uint8 (H, W, 3), RGB.
        inexact: bool (H, W), the pixels that are in question.
        color_to_index: RGB colour -> class index.
        unknown: what to answer where a foreign colour fills an area.
        effort: a key of ``mask_decoder.EFFORTS``.

    Returns:
        uint8 (H, W), the classes; and bool (H, W), which of the pixels in question are a guess.
    """
    palette = tuple(color_to_index)
    nearest = nearest_colors(pack_colors(mask), palette)
    off = _strongest(cv2.absdiff(mask, np.asarray(palette, np.uint8).take(nearest, axis=0)))
    classes = np.fromiter(color_to_index.values(), np.uint8, len(palette))
    answer = classes.take(nearest)
    window = np.ones((3, 3), np.uint8)
    agreed = cv2.dilate(answer, window) == cv2.erode(answer, window)
    mixed = inexact & ~((off <= _CLOSE) & agreed)
    foreign = inexact & (off > _FAR)
    if foreign.any():
        foreign &= _is_flat(mask)
        answer[foreign] = unknown
        mixed &= ~foreign
    doubted = np.zeros_like(mixed)
    if mixed.any():
        columns, column_of = np.unique(classes, return_inverse=True)
        shown = np.bincount(nearest[off <= _CLOSE], minlength=len(palette)) >= _SHOWN
        if not shown.any():
            shown[:] = True
        color_to_column = np.full(len(COLORS), -1)
        color_to_column[[COLORS.index(color) for color in palette]] = np.where(shown, column_of, -1)
        decisions = decide(mask, mixed, color_to_column, effort)
        answer[mixed] = columns[decisions.column]
        doubted[mixed] = decisions.probability < _DOUBT
    return answer, doubted


def _is_flat(mask: UInt8Array) -> BoolArray:
    window = np.ones((7, 7), np.uint8)
    spread = cv2.subtract(cv2.dilate(mask, window), cv2.erode(mask, window))
    return _strongest(spread) <= _FLAT


def _strongest(channels: npt.NDArray) -> npt.NDArray:
    """The maximum over the channels, (H, W)."""
    first, second, third = cv2.split(channels)
    return cv2.max(cv2.max(first, second), third)
