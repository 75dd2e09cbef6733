"""Masks, in colour or in ids, to class indices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import check_choice, expected
from cityseg_ext.functional.lossy_mask import check_palette, nearest_classes, pack_colors, resolve_mixed_pixels
from cityseg_ext.functional.mask_decoder import EFFORTS
from cityseg_ext.labels import IGNORE_INDEX, Color

UInt8Array = npt.NDArray[np.uint8]

MODES = ("exact", "nearest", "robust")
UNCERTAIN_POLICIES = ("resolve", "ignore")
CHANNEL_ORDERS = ("bgr", "rgb")

_UNKNOWN = 254  # marks, inside this module, what is in no table; hence at most 254 classes
_BLOCK_ROWS = 32  # rows looked up at a time: block and indices then stay in the L2 cache (2.2 against 3.7 ms at 2 Mpx)


@dataclass(frozen=True)
class DecodedMask:
    """Class indices, how they were found, and what could not be decoded.

    Every pixel counts in one of ``exact``, ``resolved``, ``uncertain`` and ``unknown``.

    Attributes:
        indices: uint8 (H, W), class indices; 255 where the pixel is void or unknown.
        unknown: the colours (RGB) or ids that are in no table, most frequent first, with their pixel counts.
        exact: pixels whose colour or id is in the table.
        resolved: pixels of a mixed colour that were given to a class.
        uncertain: pixels of a mixed colour whose class is a guess; they have it, or are void, as was asked for.
    """

    indices: UInt8Array
    unknown: dict[Color, int] | dict[int, int]
    exact: int
    resolved: int = 0
    uncertain: int = 0


def decode_color_mask(
    mask: UInt8Array,
    color_to_index: Mapping[Color, int],
    channel_order: str = "bgr",
    mode: str = "exact",
    uncertain: str = "resolve",
    effort: str = "fast",
) -> DecodedMask:
    """Decode a colour mask.

    * ``mode='exact'``, for masks that are what they were drawn as: a colour that is not in the table is unknown.
    * ``mode='nearest'``: every pixel has the class of the nearest colour of the table. On a mask that was smoothed or
      saved as JPEG this invents third classes along borders; it is here to compare with.
    * ``mode='robust'``, for such masks: a pixel that is near a colour of the table and agrees with its neighbours has
      that class, and a small network decides about the mixed ones (see ``mask_decoder``). Exact colours keep their
      class, so that a clean mask decodes as with ``'exact'``. A foreign colour is unknown where it fills an area.

    Args:
        mask: uint8 (H, W, 3) or (H, W, 4). A fourth channel is alpha; pixels that are not opaque count as unknown,
            under the colour that they have.
        color_to_index: RGB colour -> class index 0 .. 253, or 255 for void; see ``Taxonomy.color_to_index``.
        channel_order: ``'bgr'`` (what OpenCV and mmcv read) or ``'rgb'`` (what Pillow reads).
        mode: as above.
        uncertain: whether mixed pixels that are in doubt get the most likely class, ``'resolve'``, or 255,
            ``'ignore'``. Only for ``mode='robust'``.
        effort: ``'fast'`` for training pipelines, ``'best'`` for conversion: ten times slower and nearer to the truth.
            Only for ``mode='robust'``.

    Returns:
        The indices, and how many pixels were decoded how. Colours are given as RGB whatever ``channel_order`` is.

    Raises:
        ValueError: if the mask's shape or type, or an option, is not one of those above, or if ``mode='robust'`` is
            asked for other colours than those of Cityscapes, which the network knows.

    Example:
        >>> from cityseg_ext.labels import CITYSCAPES_19
        >>> mask = np.array([[[128, 64, 128], [1, 2, 3]]], np.uint8)
        >>> decoded = decode_color_mask(mask, CITYSCAPES_19.color_to_index, channel_order='rgb')
        >>> decoded.indices.tolist(), decoded.unknown, decoded.exact
        ([[0, 255]], {(1, 2, 3): 1}, 1)
    """
    check_choice("mode", mode, MODES)
    check_choice("channel_order", channel_order, CHANNEL_ORDERS)
    check_choice("uncertain", uncertain, UNCERTAIN_POLICIES)
    check_choice("effort", effort, EFFORTS)
    if mask.ndim != 3 or mask.shape[2] not in (3, 4) or mask.dtype != np.uint8:
        raise ValueError(expected("mask", "uint8 of shape (H, W, 3) or (H, W, 4)", f"{mask.dtype} of {mask.shape}"))
    if mode == "robust":
        check_palette(color_to_index)
    indices = _look_up(mask, color_to_index, channel_order)
    missed = indices == _UNKNOWN
    if not missed.any() and (mask.shape[2] == 3 or mask[..., 3].min(initial=255) == 255):
        return DecodedMask(indices, {}, exact=indices.size)
    transparent = mask[..., 3] != 255 if mask.shape[2] == 4 else np.zeros_like(missed)
    doubted = np.zeros_like(missed)
    if mode != "exact" and missed.any():
        rgb = np.ascontiguousarray(mask[..., 2::-1] if channel_order == "bgr" else mask[..., :3])
        if mode == "nearest":
            found = nearest_classes(rgb, color_to_index)
        else:
            found, doubted = resolve_mixed_pixels(rgb, missed, color_to_index, _UNKNOWN, effort)
        indices[missed] = found[missed]
    indices[transparent] = _UNKNOWN
    return _decoded(mask, indices, missed, doubted, uncertain, channel_order)


def decode_label_ids(ids: npt.NDArray[np.integer], id_to_index: Mapping[int, int]) -> DecodedMask:
    """Translate a map of ids.

    Args:
        ids: integers of any width, (H, W). They are compared as they are: 26001 is unknown, not 26001 modulo 256.
        id_to_index: id 0 .. 255 -> class index 0 .. 253, or 255 for void.

    Returns:
        The indices and the unknown ids.

    Raises:
        ValueError: if ``ids`` is not a two-dimensional array of integers.

    Example:
        >>> from cityseg_ext.labels import CITYSCAPES_19
        >>> decode_label_ids(np.array([[7, 26, 0, 99]]), CITYSCAPES_19.id_to_index)
        DecodedMask(indices=array([[  0,  13, 255, 255]], dtype=uint8), unknown={99: 1}, exact=3, ...)
    """
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(expected("ids", "integers of shape (H, W)", f"{ids.dtype} of {ids.shape}"))
    table = np.full(256, _UNKNOWN, np.uint8)
    for number, index in id_to_index.items():
        if 0 <= number < 256:
            table[number] = index
    if ids.dtype == np.uint8:
        indices = table[ids]
    else:
        in_range = (ids >= 0) & (ids < 256)
        indices = np.where(in_range, table[np.where(in_range, ids, 0)], np.uint8(_UNKNOWN))
    missed = indices == _UNKNOWN
    indices[missed] = IGNORE_INDEX
    return DecodedMask(indices, _count(ids[missed]), exact=int(missed.size - missed.sum()))


def encode_color_mask(indices: UInt8Array, palette: npt.ArrayLike) -> UInt8Array:
    """Paint class indices in their colours; anything that is no class becomes black.

    Args:
        indices: uint8 (H, W).
        palette: (K, 3) RGB colours, 0 to 255.

    Returns:
        uint8 (H, W, 3), RGB.

    Example:
        >>> encode_color_mask(np.array([[0, 255]], np.uint8), [(128, 64, 128)]).tolist()
        [[[128, 64, 128], [0, 0, 0]]]
    """
    table = np.zeros((256, 3), np.uint8)
    colors = np.asarray(palette, np.uint8)
    table[: len(colors)] = colors
    return table[indices]


def _look_up(mask: UInt8Array, color_to_index: Mapping[Color, int], channel_order: str) -> UInt8Array:
    """The exact classes, uint8 (H, W); ``_UNKNOWN`` where the colour is not in the table."""
    table = _color_table(tuple(sorted(color_to_index.items())), channel_order)
    indices = np.empty(mask.shape[:2], np.uint8)
    for top in range(0, mask.shape[0], _BLOCK_ROWS):
        rows = slice(top, top + _BLOCK_ROWS)
        np.take(table, pack_colors(mask[rows]), out=indices[rows], mode="clip")
    return indices


@lru_cache(maxsize=8)
def _color_table(color_to_index: tuple[tuple[Color, int], ...], channel_order: str) -> UInt8Array:
    """Index by packed colour, uint8 (2**24,): 16 MiB, built in a few milliseconds and shared by forked workers."""
    table = np.full(1 << 24, _UNKNOWN, np.uint8)
    for (red, green, blue), index in color_to_index:
        first, third = (blue, red) if channel_order == "bgr" else (red, blue)
        table[first | green << 8 | third << 16] = index
    table.setflags(write=False)
    return table


def _decoded(
    mask: UInt8Array,
    indices: UInt8Array,
    missed: npt.NDArray[np.bool_],
    doubted: npt.NDArray[np.bool_],
    uncertain: str,
    channel_order: str,
) -> DecodedMask:
    """Count what was found how, and make void what is unknown."""
    unknown = indices == _UNKNOWN
    doubted = doubted & ~unknown
    indices[unknown] = IGNORE_INDEX
    if uncertain == "ignore":
        indices[doubted] = IGNORE_INDEX
    colors = mask[unknown][:, :3]
    if channel_order == "bgr":
        colors = colors[:, ::-1]
    counts = _count(colors.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1]))
    guesses = int(doubted.sum())
    return DecodedMask(
        indices,
        {(code >> 16, code >> 8 & 255, code & 255): count for code, count in counts.items()},
        exact=int(((~missed) & ~unknown).sum()),
        resolved=int((missed & ~unknown).sum()) - guesses,
        uncertain=guesses,
    )


def _count(values: npt.NDArray[np.integer]) -> dict[int, int]:
    """Distinct values with their counts, most frequent first."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {int(found[i]): int(counts[i]) for i in order}
