"""Class statistics where a config asks for them: weights by name, and the tables of samplers and crops."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import Progress

from cityseg_ext.apis.config_tree import losses, walk_transforms
from cityseg_ext.apis.data_options import BALANCED_CROP, BALANCED_SAMPLER
from cityseg_ext.apis.dataset_check import check_dataset
from cityseg_ext.apis.dataset_statistics import STATISTICS
from cityseg_ext.checks import expected
from cityseg_ext.functional.class_statistics import WEIGHTINGS
from cityseg_ext.statistics_file import load_statistics


def fill_statistics(cfg: Config) -> None:
    """Count the classes of the training labels if anything in the config depends on them, and write the result into it.

    ``class_weight='enet'`` (or another name) becomes the list of weights; a ``ClassBalancedSampler`` or
    ``ClassAwareCrop`` without ``statistics`` gets the path of ``stats.json``. Both end up in the config that the work
    dir keeps. The counts are those of :func:`~cityseg_ext.apis.dataset_check.check_dataset` in the same work dir: they
    are made once, by the first process, and again only when the data has changed.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`; changed.

    Raises:
        FileNotFoundError, ValueError: if the data cannot be listed, or has no training labels.
        OSError: if the work dir cannot be written.
    """
    weighted, tables = list(_weighted_by_name(cfg)), list(_without_statistics(cfg))
    if not weighted and not tables:
        return
    path = Path(cfg.work_dir, "dataset", STATISTICS)
    if is_main_process():
        _count(cfg)
    barrier()  # the others read what the first has counted
    statistics = load_statistics(path)
    if not statistics.class_weights:
        what = [loss.class_weight for loss in weighted] + [part.type for part in tables]
        cure = "Check the labels with tools/check_dataset.py."
        raise ValueError(expected("train_dataloader", f"a data set with labels, which {what[0]} needs", "none", cure))
    for loss in weighted:
        loss.class_weight = statistics.class_weights[loss.class_weight].tolist()
    for part in tables:
        part.statistics = str(path)


def forget_weights(cfg: Config) -> None:
    """Take class weights from an earlier count in the work dir, or go without: a test needs no training set.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`; changed.
    """
    path = Path(cfg.work_dir, "dataset", STATISTICS)
    for loss in _weighted_by_name(cfg):
        if path.is_file():
            loss.class_weight = load_statistics(path).class_weights[loss.class_weight].tolist()
        else:
            print_log(
                f"val/loss is computed without class weights: there is no '{path}' to take {loss.class_weight!r} from.",
                logger="current",
            )
            loss.class_weight = None


def _weighted_by_name(cfg: Config) -> Iterator[ConfigDict]:
    for loss in losses(cfg):
        if isinstance(loss.get("class_weight"), str) and loss.class_weight in WEIGHTINGS:
            yield loss


def _without_statistics(cfg: Config) -> Iterator[ConfigDict]:
    loader = cfg.train_dataloader
    for part in (loader.sampler, *walk_transforms(loader.dataset.get("pipeline", []))):
        if part.type in (BALANCED_SAMPLER, BALANCED_CROP) and part.get("statistics") is None:
            yield part


def _count(cfg: Config) -> None:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("counting classes", visible=False)
        check = check_dataset(
            cfg, progress=lambda done, total: bar.update(task, completed=done, total=total, visible=done < total)
        )
    seen = "as counted before" if check.cached else "counted now"
    print_log(f"Class statistics of the training labels, {seen}: {check.path}", logger="current")
    if check.statistics.errors:
        message = f"The data has {check.statistics.errors} errors: tools/check_dataset.py lists them."
        print_log(message, logger="current", level=logging.WARNING)
