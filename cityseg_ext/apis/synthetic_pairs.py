"""A synthetic data set of image pairs: photograph and colour mask side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cityseg_ext.apis.own_folder import OwnFolder
from cityseg_ext.apis.synthetic_cityscapes import VERSION, paint_label_ids, scene_seeds
from cityseg_ext.checks import check_at_least, check_choice, expected
from cityseg_ext.functional.synthetic import MIN_SIDE, Scene, render_scene

RESIZE_FILTERS = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
"""How photograph and mask may be squeezed. All but ``'nearest'`` mix the mask's colours along borders."""

_STAMP = "synthetic_pairs.json"
_GENERATOR = "cityseg_ext.apis.synthetic_pairs"


def write_synthetic_pairs(
    root: str | Path,
    train: int = 60,
    val: int = 20,
    size: int = 256,
    resize: str = "area",
    quality: int | None = 95,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write synthetic scenes as ``train/1.jpg`` ... and ``val/1.jpg`` ..., photograph left and colour mask right.

    Scenes of twice that height and four times that width are squeezed to squares, as in the popular sets. What an
    earlier call with the same arguments wrote is used again; what one with other arguments wrote is replaced.

    Args:
        root: folder to write; it must be new, empty, or written by this function.
        train: how many scenes to train on.
        val: how many held-out scenes; no street is in both.
        size: sides of each half; the files are twice as wide.
        resize: the filter, a key of :data:`RESIZE_FILTERS`.
        quality: 1 to 100 of JPEG; None writes PNG files, without loss.
        seed: which streets.
        progress: called with (pairs done, pairs in all).

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds somebody else's files, or an argument is wrong.
    """
    for name, value, least in (("train", train, 1), ("val", val, 1), ("seed", seed, 0), ("size", size, MIN_SIDE // 2)):
        check_at_least(name, value, least)
    check_choice("resize", resize, RESIZE_FILTERS)
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(expected("quality", "from 1 to 100, or None for PNG", quality))
    arguments = dict(version=VERSION, train=train, val=val, size=size, resize=resize, quality=quality, seed=seed)
    folder = OwnFolder(root, _GENERATOR, _STAMP)
    if folder.is_filled(arguments):
        return folder.path
    earlier = (path for pattern in ("*/*.jpg", "*/*.png") for path in folder.path.glob(pattern))
    folder.begin(path for path in earlier if path.stem.isdecimal())
    scenes = scene_seeds(train, val, seed)
    for done, (split, index, scene_seed) in enumerate(scenes, start=1):
        pair = _pair(render_scene(scene_seed, 2 * size, 4 * size), size, RESIZE_FILTERS[resize])
        suffix = ".png" if quality is None else ".jpg"
        options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
        encoded = cv2.imencode(suffix, pair[..., ::-1], options)[1]
        folder.write(Path(split, f"{index + 1}{suffix}"), encoded.tobytes())
        if progress is not None:
            progress(done, len(scenes))
    folder.finish(arguments)
    return folder.path


def _pair(scene: Scene, size: int, interpolation: int) -> np.ndarray:
    """uint8 (size, 2 * size, 3), RGB."""
    halves = (scene.photo, paint_label_ids(scene.label_ids))
    return np.concatenate([cv2.resize(half, (size, size), interpolation=interpolation) for half in halves], axis=1)
