"""Reading photographs, with an error that names the file."""

from __future__ import annotations

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmseg.registry import TRANSFORMS

from cityseg_ext.transforms.image_file import (
    MAX_PIXELS,
    open_image,
    read_image_bytes,
    read_large_image_bytes,
    take_half,
    unreadable,
)

LARGE_PIXELS = 4 * MAX_PIXELS  # 1.5 GiB in memory: one photograph at a time may be larger than those of a training set


@TRANSFORMS.register_module()
class LoadStreetImage(LoadImageFromFile):
    """Load a photograph as mmcv's ``LoadImageFromFile`` does, but say which file it was when that fails.

    Required Keys:

    - img_path (str)
    - photo_half (str): optional; ``'left'`` or ``'right'`` where photograph and mask share one file

    Added Keys:

    - img (np.ndarray): uint8 (H, W, 3), BGR
    - img_shape, ori_shape (tuple[int, int]): (H, W)

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is empty, truncated, no image, or claims more than 2**27 pixels.
    """

    def transform(self, results: dict) -> dict:
        path = results["img_path"]
        data, _ = read_image_bytes(path, "photograph", self.backend_args)
        img = _decode(path, data, self.color_type, self.imdecode_backend)
        img = np.ascontiguousarray(take_half(path, img, results.get("photo_half")))
        results["img"] = img.astype(np.float32) if self.to_float32 else img
        results["img_shape"] = results["ori_shape"] = img.shape[:2]
        return results


def read_photo(path: str) -> np.ndarray:
    """Read one photograph of any kind, as ``LoadStreetImage`` does: turned upright, 8 bit, without transparency.

    Args:
        path: an image file, of at most four times as many pixels as those of a training set may have.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, damaged, or too large.
    """
    data = read_large_image_bytes(path, "photograph", LARGE_PIXELS)
    return np.ascontiguousarray(_decode(path, data)[..., ::-1])


def decode_photo(data: bytes, name: str) -> np.ndarray:
    """Decode a photograph of any kind from its bytes, as ``LoadStreetImage`` does from a file.

    Args:
        data: the bytes of an image file.
        name: what to call it in error messages.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: if it is no image, truncated, or claims more than 2**27 pixels.
    """
    open_image(name, data)
    return np.ascontiguousarray(_decode(name, data)[..., ::-1])


def _decode(path: str, data: bytes, color_type: str = "color", backend: str = "cv2") -> np.ndarray:
    try:
        img = mmcv.imfrombytes(data, flag=color_type, backend=backend)
    except (AttributeError, cv2.error, OSError) as error:  # what mmcv meets when a decoder gives up
        raise unreadable(path, "one that is truncated or damaged") from error
    if img is None:
        raise unreadable(path, "one that is truncated or damaged")
    return img
