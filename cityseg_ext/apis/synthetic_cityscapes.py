"""A synthetic data set in the Cityscapes tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cityseg_ext.apis.own_folder import OwnFolder
from cityseg_ext.checks import check_at_least
from cityseg_ext.functional.color_mask import encode_color_mask
from cityseg_ext.functional.synthetic import MIN_SIDE, Scene, render_scene
from cityseg_ext.labels import LABEL_SUFFIXES, LABELS, PHOTO_SUFFIXES

STAMP = "synthetic.json"
NUM_TRAIN, NUM_VAL = 160, 24
_GENERATOR = "cityseg_ext.apis.synthetic_cityscapes"
VERSION = 1  # of the scenes: raise it when the generator changes what it draws
_VAL_SEEDS = 1 << 32  # where the seeds of the held-out scenes begin
UNSEEN_SEEDS = 1 << 33
"""Where the seeds of streets begin that no data set holds, so that no model has been trained on them."""


def write_synthetic_cityscapes(
    root: str | Path,
    train: int = NUM_TRAIN,
    val: int = NUM_VAL,
    height: int = 256,
    width: int = 512,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write synthetic scenes as photographs, label ids and colour masks in the Cityscapes tree.

    What an earlier call with the same arguments wrote is used again; what one with other arguments wrote is replaced.

    Args:
        root: folder to write; it must be new, empty, or written by this function.
        train: how many scenes to train on.
        val: how many held-out scenes; no street is in both.
        height: rows.
        width: columns.
        seed: which streets.
        progress: called with (scenes done, scenes in all).

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds somebody else's files, or a number is too small.
    """
    for name, value, least in (
        *(("train", train, 1), ("val", val, 1), ("seed", seed, 0)),
        *(("height", height, MIN_SIDE), ("width", width, MIN_SIDE)),
    ):
        check_at_least(name, value, least)
    arguments = dict(version=VERSION, train=train, val=val, height=height, width=width, seed=seed)
    folder = OwnFolder(root, _GENERATOR, STAMP)
    if folder.is_filled(arguments):
        return folder.path
    trees = ("leftImg8bit", "gtFine")
    folder.begin(path for tree in trees for path in folder.path.glob(f"{tree}/*/synth/synth_*.png"))
    scenes = scene_seeds(train, val, seed)
    for done, (split, index, scene_seed) in enumerate(scenes, start=1):
        _write_scene(folder, split, index, render_scene(scene_seed, height, width))
        if progress is not None:
            progress(done, len(scenes))
    folder.finish(arguments)
    return folder.path


def scene_seeds(train: int, val: int, seed: int) -> list[tuple[str, int, int]]:
    """Split, number and seed of every scene of a data set; no street is in both splits."""
    scenes = [("train", index, seed + index) for index in range(train)]
    return scenes + [("val", index, seed + _VAL_SEEDS + index) for index in range(val)]


def paint_label_ids(label_ids: np.ndarray) -> np.ndarray:
    """Official label ids, uint8 (H, W), in the official colours: uint8 (H, W, 3), RGB."""
    colors = np.zeros((256, 3), np.uint8)
    for label in LABELS:
        if label.id >= 0:
            colors[label.id] = label.color
    return encode_color_mask(label_ids, colors)


def _write_scene(folder: OwnFolder, split: str, index: int, scene: Scene) -> None:
    mask = cv2.cvtColor(paint_label_ids(scene.label_ids), cv2.COLOR_RGB2BGRA)  # opaque, as the official ones
    stem = f"synth_000000_{index:06d}"
    for tree, suffix, picture in (
        ("leftImg8bit", PHOTO_SUFFIXES[0], scene.photo[..., ::-1]),
        ("gtFine", LABEL_SUFFIXES["label_ids"], scene.label_ids),
        ("gtFine", LABEL_SUFFIXES["color"], mask),
    ):
        folder.write(Path(tree, split, "synth", f"{stem}{suffix}"), cv2.imencode(".png", picture)[1].tobytes())
