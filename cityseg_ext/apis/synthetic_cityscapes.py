"""A synthetic data set in the Cityscapes tree."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cityseg_ext.checks import check_at_least, file_problem
from cityseg_ext.functional.color_mask import encode_color_mask
from cityseg_ext.functional.synthetic import MIN_SIDE, render_scene
from cityseg_ext.labels import LABEL_SUFFIXES, LABELS, PHOTO_SUFFIXES

STAMP = "synthetic.json"
NUM_TRAIN, NUM_VAL = 160, 24
_GENERATOR = "cityseg_ext.apis.synthetic_cityscapes"
_VERSION = 1  # of the scenes: raise it when the generator changes what it draws
_VAL_SEEDS = 1 << 32  # where the seeds of the held-out scenes begin


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
    root = Path(root)
    arguments = dict(
        generator=_GENERATOR, version=_VERSION, train=train, val=val, height=height, width=width, seed=seed
    )
    written = _read_stamp(root)
    if written == arguments:
        return root
    root.mkdir(parents=True, exist_ok=True)
    # Unfinished at first: a call that is interrupted is recognised, and its files may be replaced.
    _write(root / STAMP, json.dumps({"generator": _GENERATOR}).encode())
    _remove_scenes(root)
    scenes = [("train", index, seed + index) for index in range(train)]
    scenes += [("val", index, seed + _VAL_SEEDS + index) for index in range(val)]
    for done, (split, index, scene_seed) in enumerate(scenes, start=1):
        _write_scene(root, split, index, scene_seed, height, width)
        if progress is not None:
            progress(done, len(scenes))
    _write(root / STAMP, json.dumps(arguments).encode())
    return root


def _read_stamp(root: Path) -> dict | None:
    """What an earlier call wrote there; None for a folder that is new or empty."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        stamp = json.loads((root / STAMP).read_text())
    except (OSError, ValueError):
        stamp = None
    if not isinstance(stamp, dict) or stamp.get("generator") != _GENERATOR:
        rule = f"an empty folder, or one that this function wrote (with its '{STAMP}')"
        raise ValueError(file_problem(root, rule, "one with other files", "Choose another folder."))
    return stamp


def _remove_scenes(root: Path) -> None:
    """Remove the files of an earlier call, known by their names, and nothing else."""
    for path in (*root.glob("leftImg8bit/*/synth/synth_*.png"), *root.glob("gtFine/*/synth/synth_*.png")):
        path.unlink()


def _write_scene(root: Path, split: str, index: int, seed: int, height: int, width: int) -> None:
    scene = render_scene(seed, height, width)
    colors = np.zeros((256, 3), np.uint8)
    for label in LABELS:
        if label.id >= 0:
            colors[label.id] = label.color
    mask = cv2.cvtColor(encode_color_mask(scene.label_ids, colors), cv2.COLOR_RGB2BGRA)  # opaque, as the official ones
    stem = f"synth_000000_{index:06d}"
    for folder, suffix, picture in (
        ("leftImg8bit", PHOTO_SUFFIXES[0], scene.photo[..., ::-1]),
        ("gtFine", LABEL_SUFFIXES["label_ids"], scene.label_ids),
        ("gtFine", LABEL_SUFFIXES["color"], mask),
    ):
        path = root / folder / split / "synth" / f"{stem}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, cv2.imencode(".png", picture)[1].tobytes())


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
