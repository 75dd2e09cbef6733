"""What happens to colour masks on their way into the wild: resizing with smoothing, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from cityseg_ext.checks import check_choice, expected

UInt8Array = npt.NDArray[np.uint8]

_OPENCV = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos4": cv2.INTER_LANCZOS4,
}
_PILLOW = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FILTERS = (*_OPENCV, *_PILLOW)
"""Resize filters: OpenCV's, of which only ``area`` looks at all pixels when it shrinks, and Pillow's, which all do.

All but ``nearest`` mix the colours of neighbours.
"""

SUBSAMPLINGS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}
"""At what part of the resolution a JPEG stores its colour; 4:2:0, half in both directions, is what programs do."""


def damage_mask(
    mask: UInt8Array, height: int, width: int, resize: str, quality: int | None, subsampling: str = "4:2:0"
) -> UInt8Array:
    """Resize a colour mask with smoothing, then send it through a JPEG file.

    Args:
        mask: uint8 (H, W, 3), RGB.
        height: rows of the result.
        width: columns of the result.
        resize: one of :data:`FILTERS`; does nothing where the size stays.
        quality: of the JPEG, 1 to 100; None for no JPEG.
        subsampling: one of :data:`SUBSAMPLINGS`.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        ValueError: if an option is none of these.

    Example:
        >>> sharp = np.zeros((8, 8, 3), np.uint8)
        >>> sharp[:, 3:] = 200
        >>> damage_mask(sharp, 4, 4, 'area', None)[0, :, 0].tolist()
        [0, 100, 200, 200]
    """
    mask = resize_with(mask, height, width, resize)
    if quality is None:
        return mask
    data = np.frombuffer(encode_jpeg(mask, quality, subsampling), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def resize_with(picture: UInt8Array, height: int, width: int, resize: str) -> UInt8Array:
    """uint8 (H, W, 3) to (height, width, 3) with one of :data:`FILTERS`; ``ValueError`` for another."""
    check_choice("resize", resize, FILTERS)
    if picture.shape[:2] == (height, width):
        return picture
    if resize in _OPENCV:
        return cv2.resize(picture, (width, height), interpolation=_OPENCV[resize])
    return np.asarray(Image.fromarray(picture).resize((width, height), _PILLOW[resize]))


def encode_jpeg(picture: UInt8Array, quality: int, subsampling: str = "4:2:0") -> bytes:
    """The JPEG file of a picture, uint8 (H, W, 3), RGB; ``ValueError`` for options that :func:`damage_mask` refuses."""
    check_choice("subsampling", subsampling, SUBSAMPLINGS)
    if not 1 <= quality <= 100:
        raise ValueError(expected("quality", "from 1 to 100", quality))
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLINGS[subsampling]]
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].tobytes()
