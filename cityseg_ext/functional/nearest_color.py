"""The nearest colour of a palette, by a table that fits into the cache."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cityseg_ext.labels import Color

UInt8Array = npt.NDArray[np.uint8]

_BITS = 6  # of each channel that the table looks at: cubes of 4 x 4 x 4 colours, 256 KiB
_CUBE = 1 << 8 - _BITS
_OPEN = 255  # marks the cubes in which more than one colour can win


def nearest_colors(packed: npt.NDArray[np.uint32], palette: tuple[Color, ...]) -> UInt8Array:
    """Index of the nearest palette colour (Euclidean, in RGB; the first of equals) of every pixel.

    Args:
        packed: uint32, any shape, ``red | green << 8 | blue << 16``.
        palette: RGB colours, at most 255 of them.

    Returns:
        uint8 of the same shape.

    Example:
        >>> nearest_colors(np.array([127, 128], np.uint32), ((0, 0, 0), (255, 0, 0))).tolist()
        [0, 1]
    """
    cell = packed >> np.uint32(8 - _BITS) & np.uint32(0x3F)
    cell |= packed >> np.uint32(2 * (8 - _BITS)) & np.uint32(0x3F << _BITS)
    cell |= packed >> np.uint32(3 * (8 - _BITS)) & np.uint32(0x3F << 2 * _BITS)
    nearest = _cube_table(palette).take(cell, mode="clip")
    undecided = nearest == _OPEN
    codes = packed[undecided]
    channels = [(codes >> shift & 255).astype(np.float32) for shift in (0, 8, 16)]
    nearest[undecided] = _two_best(channels, palette)[0]
    return nearest


@lru_cache(maxsize=8)
def _cube_table(palette: tuple[Color, ...]) -> UInt8Array:
    """The winner of every cube of colours, uint8 (2**18,), or ``_OPEN``."""
    centres = np.arange(0, 256, _CUBE, dtype=np.float32) + (_CUBE - 1) / 2
    blue, green, red = (axis.ravel() for axis in np.meshgrid(centres, centres, centres, indexing="ij"))
    winner, best, second = _two_best([red, green, blue], palette)
    # Inside a cube, every distance differs from that of the centre by at most half of the diagonal.
    open_ = np.sqrt(second) - np.sqrt(best) <= np.sqrt(3) * (_CUBE - 1) + 1e-2
    winner[open_] = _OPEN
    winner.setflags(write=False)
    return winner


def _two_best(
    channels: list[npt.NDArray[np.float32]], palette: tuple[Color, ...]
) -> tuple[UInt8Array, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Index of the nearest colour, and the squared distances of the nearest and the second; all (n,)."""
    winner = np.zeros(channels[0].shape, np.uint8)
    best = np.full(winner.shape, np.inf, np.float32)
    second = best.copy()
    for index, color in enumerate(palette):
        square = np.zeros(winner.shape, np.float32)
        for channel, value in zip(channels, color, strict=True):
            square += (channel - np.float32(value)) ** 2
        closer = square < best
        np.minimum(second, np.where(closer, best, square), out=second)
        best[closer] = square[closer]
        winner[closer] = index
    return winner, best, second
