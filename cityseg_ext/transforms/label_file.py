"""Label files of any kind (colour masks, label ids, class indices) to class indices."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
from PIL import Image

from cityseg_ext.checks import file_problem, shorten
from cityseg_ext.functional.color_mask import DecodedMask, decode_color_mask, decode_label_ids
from cityseg_ext.functional.lossy_mask import looks_painted
from cityseg_ext.labels import IGNORE_INDEX, Taxonomy
from cityseg_ext.transforms.image_file import decode_image, read_image_bytes, take_half

_COLOR_CURE = "If it is a colour mask, set source='color'."
_PNG_START = b"\x89PNG\r\n\x1a\n"
_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L")


def read_label(
    path: str,
    source: str,
    taxonomy: Taxonomy,
    half: str | None = None,
    size: tuple[int, ...] | None = None,
    backend_args: dict | None = None,
    **decoding: str,
) -> DecodedMask:
    """Read a label file as class indices.

    Args:
        path: the file.
        source: ``'color'``, ``'label_ids'`` or ``'train_ids'``.
        taxonomy: the classes wanted.
        half: ``'left'`` or ``'right'`` where photograph and mask are side by side in one file.
        size: (H, W, ...) that the label must have.
        backend_args: arguments of mmengine's file backend.
        **decoding: ``mode``, ``uncertain`` and ``effort`` of
            :func:`~cityseg_ext.functional.color_mask.decode_color_mask`, for colours.

    Returns:
        Class indices, uint8 (H, W), and what was unknown.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or is of another kind or size.
    """
    data, image = read_image_bytes(path, "label", backend_args)
    pixels = _decode_fast(data, image) if source == "color" and image.mode in ("RGB", "RGBA") else None
    order = "rgb" if pixels is None else "bgr"
    if pixels is None:
        pixels = _pixels_as_color(path, image) if source == "color" else _pixels_as_ids(path, image)
    pixels = take_half(path, pixels, half)
    if size is not None and pixels.shape[:2] != tuple(size[:2]):
        rule = f"of its photograph's size {size[1]}x{size[0]} (width x height)"
        cure = "Pair the right files, or export the label at full size with nearest-neighbour resizing."
        raise ValueError(file_problem(path, rule, f"{pixels.shape[1]}x{pixels.shape[0]}", cure))
    if source == "color":
        if decoding.get("mode") == "robust":  # it would find some class for each pixel of a photograph
            _check_painted(path, pixels[..., :3] if order == "rgb" else pixels[..., 2::-1], taxonomy, half)
        return decode_color_mask(pixels, taxonomy.color_to_index, order, **decoding)
    if source == "label_ids":
        id_to_index = {number % 256: index for number, index in taxonomy.id_to_index.items()}
    else:
        id_to_index = {index: index for index in range(taxonomy.num_classes)} | {IGNORE_INDEX: IGNORE_INDEX}
    return decode_label_ids(pixels, id_to_index)


def _check_painted(path: str, pixels: np.ndarray, taxonomy: Taxonomy, half: str | None) -> None:
    if not looks_painted(pixels, taxonomy.color_to_index):
        rule = f"a mask whose colours are near those of {taxonomy.name}"
        other = "Is the mask in the other half? Set photo_side='right' (tools/convert_masks.py: --half left)."
        raise ValueError(file_problem(path, rule, "a picture like a photograph", other if half else ""))


def read_ids(path: str, cure: str = _COLOR_CURE) -> np.ndarray:
    """Read an id file as it is, whatever the ids mean.

    Args:
        path: the file.
        cure: the advice where it is no map of ids.

    Returns:
        Integers (H, W): uint8 from 8-bit files, else int64.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or is no map of ids.
    """
    data, image = read_image_bytes(path, "label")
    pixels = _decode_fast(data, image) if image.mode == "L" else None
    return _pixels_as_ids(path, image, cure) if pixels is None else pixels


def unknown_problem(path: str, decoded: DecodedMask, source: str, taxonomy: Taxonomy, cure: str | None = None) -> str:
    """The sentence about colours or ids of a file that are in no table; ``cure`` replaces the usual advice."""
    kind = "colours (RGB)" if source == "color" else "ids"
    total = sum(decoded.unknown.values())
    listed = shorten([f"{value}: {count} pixels" for value, count in decoded.unknown.items()])
    found = f"{total} of {decoded.indices.size} pixels with {len(decoded.unknown)} other {kind}: {listed}"
    rule = {
        "color": f"a mask in the colours of {taxonomy.name}",
        "label_ids": "a map of Cityscapes label ids 0 to 33 (or 255)",
        "train_ids": f"a map of the class indices 0 to {taxonomy.num_classes - 1} (or 255)",
    }[source]
    return file_problem(path, rule, found, cure or _unknown_cure(source, decoded.unknown))


def _decode_fast(data: bytes, image: Image.Image) -> np.ndarray | None:
    """The pixels of an undamaged 8-bit PNG by OpenCV, in two thirds of Pillow's time; None for any other file.

    Grey (H, W), or BGR or BGRA (H, W, C), as ``image.mode`` says. Where OpenCV would read a file in another way than
    Pillow (16 bit, a transparent colour), or complain on the terminal (a damaged file, an odd colour profile), it is
    left to Pillow.
    """
    if not _is_whole_png(data) or "icc_profile" in image.info:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    bands = len(image.getbands())
    shape = (image.height, image.width, bands)[: 2 if bands == 1 else 3]
    return pixels if pixels is not None and pixels.dtype == np.uint8 and pixels.shape == shape else None


def _is_whole_png(data: bytes) -> bool:
    """Whether all chunks of a PNG, up to the last one, agree with their checksums."""
    at = len(_PNG_START)
    if data[:at] != _PNG_START:
        return False
    while at + 12 <= len(data):
        name = at + 4
        end = name + 4 + int.from_bytes(data[at:name], "big")
        if zlib.crc32(memoryview(data)[name:end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        if data[name : name + 4] == b"IEND":
            return True
        at = end + 4
    return False


def _pixels_as_color(path: str, image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3 or 4), RGB or RGBA."""
    if image.mode in ("P", "PA"):
        decode_image(path, image)
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("RGB", "RGBA"):
        return decode_image(path, image)
    raise ValueError(
        file_problem(
            path,
            "a colour mask (RGB, RGBA or palette)",
            f"an image of mode {image.mode}",
            "If it holds ids, set source='label_ids' or source='train_ids'.",
        )
    )


def _pixels_as_ids(path: str, image: Image.Image, cure: str = _COLOR_CURE) -> np.ndarray:
    """Integers (H, W)."""
    pixels = decode_image(path, image)
    if image.mode == "1":
        return pixels.astype(np.uint8)
    if image.mode in ("L", "P"):
        return pixels
    if image.mode in _WIDE_MODES:
        return pixels.astype(np.int64)
    if image.mode in ("RGB", "RGBA") and (pixels[..., :1] == pixels[..., 1:3]).all():
        return np.ascontiguousarray(pixels[..., 0])
    raise ValueError(
        file_problem(
            path,
            "a map of ids (grey, palette, or RGB with three equal channels)",
            f"an image of mode {image.mode} with differing channels" if pixels.ndim == 3 else f"mode {image.mode}",
            cure,
        )
    )


def _unknown_cure(source: str, unknown: dict) -> str:
    if source == "color":
        cure = "Masks that were smoothed or saved as JPEG have mixed colours: set mode='robust'"
    elif any(value >= 1000 for value in unknown):
        cure = "Such values are instance ids: use the _labelIds.png file"
    elif source == "train_ids":
        cure = "If these are official label ids, set source='label_ids'"
    else:
        cure = "If these are class indices, set source='train_ids'"
    return f"{cure}; or set unknown='ignore' to make such pixels void."
