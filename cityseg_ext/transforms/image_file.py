"""Image files of any origin: found, small enough to be decoded, and cut into halves; errors name the file."""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
from mmengine import fileio
from PIL import Image

from cityseg_ext.checks import file_problem

MAX_PIXELS = 1 << 27  # 16384 x 8192: a header that claims more is refused before anything of that size is allocated


def read_image_bytes(path: str, what: str, backend_args: dict | None = None) -> tuple[bytes, Image.Image]:
    """Read an image file and look at its header; pixels are not decoded yet.

    Args:
        path: the file.
        what: what it is to be, for error messages: ``'photograph'`` or ``'label'``.
        backend_args: arguments of mmengine's file backend.

    Returns:
        The bytes, and Pillow's image of them, of which only the header has been read.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, or claims more than 2**27 pixels.
    """
    data = _read(path, what, backend_args)
    return data, open_image(path, data)


def open_image(path: str, data: bytes) -> Image.Image:
    """Look at the header of an image; pixels are not decoded yet.

    Args:
        path: what to call it in error messages.
        data: the bytes of the file.

    Returns:
        Pillow's image of them.

    Raises:
        ValueError: if it is no image, or claims more than 2**27 pixels.
    """
    try:
        image = _open(path, data)
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error), MAX_PIXELS) from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path, f"{image.width}x{image.height}", MAX_PIXELS)
    return image


def read_large_image_bytes(path: str, what: str, max_pixels: int) -> bytes:
    """As :func:`read_image_bytes`, with another limit, for those who decode without Pillow.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, or claims more than ``max_pixels``.
    """
    data = _read(path, what)
    try:
        image = _open(path, data)
        pixels = image.width * image.height
    except Image.DecompressionBombError as error:  # Pillow's limit is lower, and a setting of the whole process
        named = re.search(r"\((\d+) pixels\)", str(error))
        pixels = int(named[1]) if named else max_pixels + 1
    if pixels > max_pixels:
        raise _too_large(path, str(pixels), max_pixels)
    return data


def decode_image(path: str, image: Image.Image) -> np.ndarray:
    """All pixels of an image whose header :func:`read_image_bytes` has read: (H, W) or (H, W, C), RGB order.

    Raises:
        ValueError: if the file is truncated or damaged.
    """
    try:
        image.load()
        return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise unreadable(path, f"one that cannot be decoded ({error})") from error


def take_half(path: str, pixels: np.ndarray, half: str | None) -> np.ndarray:
    """The left or right half of (H, W) or (H, W, C); the whole for None.

    Raises:
        ValueError: if the width is odd, so that there are no two equal halves.
    """
    if half is None:
        return pixels
    width = pixels.shape[1]
    if width % 2:
        rule = "a pair of equal halves, photograph and mask side by side, of even width"
        raise ValueError(file_problem(path, rule, f"width {width}", "Remove the file, or cut it to an even width."))
    return pixels[:, : width // 2] if half == "left" else pixels[:, width // 2 :]


def unreadable(path: str, value: str) -> ValueError:
    """The error for a file whose content is damaged."""
    return ValueError(file_problem(path, "a readable image", value, "Restore or remove it."))


def _read(path: str, what: str, backend_args: dict | None = None) -> bytes:
    try:
        return fileio.get(path, backend_args=backend_args)
    except (FileNotFoundError, IsADirectoryError) as error:
        cure = "Check `data_root` and the suffix options."
        raise FileNotFoundError(file_problem(path, f"an existing {what} file", "no file", cure)) from error


def _open(path: str, data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limits here are ours
            return Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError) as error:
        raise unreadable(path, f"{len(data)} bytes that are no image") from error


def _too_large(path: str, value: str, max_pixels: int) -> ValueError:
    cure = "Its header is damaged, or it is meant to exhaust memory: remove it, or cut it into tiles."
    return ValueError(file_problem(path, f"an image of at most {max_pixels} pixels", value, cure))
