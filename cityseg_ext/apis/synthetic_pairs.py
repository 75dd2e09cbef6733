"""A synthetic data set of image pairs: photograph and colour mask side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cityseg_ext.apis.mask_damage import FILTERS, encode_jpeg, resize_with
from cityseg_ext.apis.own_folder import OwnFolder
from cityseg_ext.apis.synthetic_cityscapes import VERSION, paint_label_ids, scene_seeds
from cityseg_ext.checks import check_at_least, check_choice, expected
from cityseg_ext.functional.synthetic import MIN_SIDE, Scene, render_scene

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
        resize: the filter, one of ``mask_damage.FILTERS``.
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
    check_choice("resize", resize, FILTERS)
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
        pair = _pair(render_scene(scene_seed, 2 * size, 4 * size), size, resize)
        if quality is None:
            folder.write(Path(split, f"{index + 1}.png"), cv2.imencode(".png", pair[..., ::-1])[1].tobytes())
        else:
            folder.write(Path(split, f"{index + 1}.jpg"), encode_jpeg(pair, quality))
        if progress is not None:
            progress(done, len(scenes))
    folder.finish(arguments)
    return folder.path


def _pair(scene: Scene, size: int, resize: str) -> np.ndarray:
    """uint8 (size, 2 * size, 3), RGB."""
    halves = (scene.photo, paint_label_ids(scene.label_ids))
    return np.concatenate([resize_with(half, size, size, resize) for half in halves], axis=1)
