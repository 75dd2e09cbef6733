"""What the model really sees: images and labels after the pipeline, as pictures."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample

from cityseg_ext.apis.dataset_listing import SPLITS
from cityseg_ext.apis.own_folder import OwnFolder
from cityseg_ext.checks import check_at_least, check_choice, expected
from cityseg_ext.functional.label_resize import resize_labels
from cityseg_ext.functional.overlay import overlay
from cityseg_ext.functional.panels import contact_sheet, enlarge, label_panel
from cityseg_ext.labels import IGNORE_INDEX
from cityseg_ext.whole_file import check_writable, inside

SHEET = "index.png"
_STAMP = "browse.json"
_GENERATOR = "cityseg_ext.apis.browse"
_SHEET_PANELS = 12


@dataclass(frozen=True)
class BrowseResult:
    """What :func:`browse` wrote.

    Attributes:
        folder: the folder of pictures.
        panels: how many panels there are in it.
        sheet: the picture that shows the first of them at a glance.
    """

    folder: Path
    panels: int
    sheet: Path


def browse(
    cfg: Config,
    split: str = "train",
    num: int = 20,
    out_dir: str | None = None,
    seed: int = 0,
    repeat: int = 1,
    alpha: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> BrowseResult:
    """Run the pipeline of a split, and write panels photograph | labels over photograph | labels.

    Images are taken at even distances over the whole split. The same arguments give the same pictures: each draw has
    random numbers of its own, whatever else is drawn.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`.
        split: ``'train'``, ``'val'`` or ``'test'``.
        num: how many images; all of them if there are fewer.
        out_dir: folder to write, ``<work_dir>/browse/<split>`` by default; it must be new, empty, or written by this
            function. Pictures of an earlier call are replaced.
        seed: of the random augmentations.
        repeat: how often each image is drawn, with other random augmentations each time.
        alpha: how much of the class colour there is over the photograph, 0 to 1.
        progress: called with (panels done, panels in all).

    Returns:
        Where the pictures are.

    Raises:
        FileNotFoundError, ValueError: if the data set or an argument is wrong, or the folder has somebody else's files.
        OSError: if the folder cannot be written.
    """
    check_choice("split", split, SPLITS)
    for name, value, least in (("num", num, 1), ("repeat", repeat, 1), ("seed", seed, 0)):
        check_at_least(name, value, least)
    dataset = _build_dataset(cfg, split)
    folder = OwnFolder(
        out_dir or inside("work_dir", cfg.work_dir, Path("browse", split, SHEET)).parent, _GENERATOR, _STAMP
    )
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(num, len(dataset))).round().astype(int)).tolist()
    draws = [(index, draw) for index in chosen for draw in range(repeat)]
    classes, palette = dataset.metainfo["classes"], dataset.metainfo["palette"]
    small = []
    for done, (index, draw) in enumerate(draws, start=1):
        with _own_random_numbers(seed, index, draw):
            sample = dataset[index]
        photo, indices = _pictures(sample)
        heading = _heading(sample["data_samples"], indices)
        photo, indices = enlarge(photo), enlarge(_fit(indices, photo))
        panel = label_panel(photo, indices, classes, palette, heading, alpha)
        if done == 1:  # a pipeline that fails at once leaves the pictures of an earlier call alone
            check_writable("out_dir", str(folder.path))
            folder.begin(path for path in folder.path.glob("*.png") if _is_ours(path))
        folder.write(_file_name(index, draw, repeat, sample["data_samples"]), _png(panel))
        if len(small) < _SHEET_PANELS:
            small.append((Path(sample["data_samples"].img_path).name, overlay(photo, indices, palette, alpha)))
        if progress is not None:
            progress(done, len(draws))
    sheet = folder.write(SHEET, _png(contact_sheet(small)))
    folder.finish(dict(config=str(cfg.filename), split=split, seed=seed, panels=len(draws)))
    return BrowseResult(folder.path, len(draws), sheet)


def _build_dataset(cfg: Config, split: str):
    loader = cfg.get(f"{split}_dataloader")
    if not loader:
        there = [name for name in SPLITS if cfg.get(f"{name}_dataloader")]
        raise ValueError(expected("split", f"one that the config has a dataloader for ({there})", repr(split)))
    init_default_scope(cfg.get("default_scope", "mmseg"))
    return DATASETS.build(loader.dataset)


@contextmanager
def _own_random_numbers(*key: int) -> Iterator[None]:
    """Random numbers that depend on the key alone; the caller's go on afterwards as if nothing had been drawn."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    set_random_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _pictures(sample: dict) -> tuple[np.ndarray, np.ndarray | None]:
    """Photograph, uint8 (H, W, 3) RGB, and labels, uint8 (H', W'), as the pipeline packed them."""
    photo = sample["inputs"].numpy().transpose(1, 2, 0)[..., ::-1]
    photo = np.ascontiguousarray(photo.clip(0, 255).astype(np.uint8))
    if "gt_sem_seg" not in sample["data_samples"]:
        return photo, None
    return photo, sample["data_samples"].gt_sem_seg.data[0].numpy().astype(np.uint8)


def _fit(indices: np.ndarray | None, photo: np.ndarray) -> np.ndarray:
    """The labels at the photograph's size: test pipelines leave them at the original one."""
    height, width = photo.shape[:2]
    if indices is None:
        return np.full((height, width), IGNORE_INDEX, np.uint8)
    return indices if indices.shape == (height, width) else resize_labels(indices, height, width)


def _heading(sample: SegDataSample, indices: np.ndarray | None) -> str:
    """File name, size, and what the pipeline has done to the image, as far as it says so."""
    facts = sample.metainfo
    height, width = facts["img_shape"][:2]
    parts = [Path(facts["img_path"]).name, f"{width}x{height}"]
    if facts.get("scale_factor") is not None:
        factors = [f"{factor:.2f}" for factor in np.atleast_1d(facts["scale_factor"])]
        parts.append(f"scale {factors[0] if len(set(factors)) == 1 else ' x '.join(factors)}")
    if facts.get("flip"):
        direction = facts.get("flip_direction") or "horizontal"
        parts.append("flipped" if direction == "horizontal" else f"flipped ({direction})")
    if indices is None:
        return "   ".join([*parts, "no labels"])
    if indices.shape != (height, width):
        parts.append(f"labels {indices.shape[1]}x{indices.shape[0]}")
    parts.append(f"void {(indices == IGNORE_INDEX).mean():.1%}")
    return "   ".join(parts)


def _file_name(index: int, draw: int, repeat: int, sample: SegDataSample) -> str:
    stem = os.fsencode(Path(sample.img_path).stem)[:200].decode(errors="ignore")  # names end at 255 bytes
    return f"{index:05d}_{stem}{f'_{draw + 1}' if repeat > 1 else ''}.png"


def _is_ours(path: Path) -> bool:
    return path.name == SHEET or re.match(r"\d{5,}_", path.name) is not None


def _png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
