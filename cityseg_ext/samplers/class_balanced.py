"""Images by the rarity of what they hold: the registered face of ``functional.class_sampling``."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from operator import attrgetter

import numpy as np
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from cityseg_ext.checks import check_at_least, expected, shorten
from cityseg_ext.functional.class_sampling import ClassSampling, draw_images, effective_number
from cityseg_ext.functional.dataset_statistics import DatasetStatistics, image_name
from cityseg_ext.statistics_file import load_statistics

_FEW = 0.1  # fewer effective images than this share of all are worth a warning


@DATA_SAMPLERS.register_module()
class ClassBalancedSampler(Sampler):
    """Draw images that hold rare classes more often: rare class sampling of DAFormer (Hoyer et al., CVPR 2022).

    A class is drawn with probability ``exp((1 - f) / temperature)``, f being its share of all labelled pixels, then one
    of the images that hold it. Images without any labelled pixel are never drawn. Each image comes as often as its
    probability says, rounded up or down: see :func:`~cityseg_ext.functional.class_sampling.draw_images`.

    What is drawn depends on ``seed`` and epoch only, so that a resumed run goes on as an uninterrupted one would.
    All ranks draw the same and take turns; each gets the same number of images. In an iteration-based loop the end of a
    draw begins the next epoch; a resumed run passes over what was drawn, with ``ExactResumeHook`` without loading it.

    A log line says at the start how varied the images are; it is a warning where a few make up most of the draws.

    Configs that inherit ``sampler=dict(type='DefaultSampler', shuffle=True)`` say ``_delete_=True`` beside ``type``.

    Args:
        dataset: a data set of images, or a ``ConcatDataset`` of such.
        statistics: ``stats.json`` of ``tools/check_dataset.py``, which must know all images of ``dataset``; it may know
            more, so that ``max_images``, ``cities`` and ``indices`` may be changed.
        temperature: above 0; the lower, the more often the rarest classes. ``float('inf')`` draws all classes alike; in
            config files write a large number such as 1e6, because a saved config cannot hold infinity.
        min_share: the share of its pixels, void ones too, from which on an image holds a class; 0: any pixel will do.
            Classes that no image holds so much of are held by all images that have any of them.
        num_samples: images an epoch, of all ranks together; None: as many as there are. It is rounded up to a multiple
            of the number of ranks.
        seed: the same on all ranks; None: one that the ranks agree on.

    Raises:
        FileNotFoundError: if there is no such file of statistics.
        TypeError: if ``dataset`` is another wrapper.
        ValueError: if statistics are of other classes or images, or a number is out of range.
    """

    def __init__(
        self,
        dataset: BaseDataset | ConcatDataset,
        statistics: str | None = None,
        temperature: float = 0.01,
        min_share: float = 0.0015,
        num_samples: int | None = None,
        seed: int | None = None,
    ) -> None:
        if statistics is None:
            cure = "tools/train.py fills it in; elsewhere give the stats.json that tools/check_dataset.py writes."
            raise ValueError(expected("statistics", "a file with the statistics of the data set", None, cure))
        if num_samples is not None:
            check_at_least("num_samples", num_samples, 1)
        self.rank, world_size = get_dist_info()
        self.world_size = world_size
        self.num_samples = math.ceil((num_samples or len(dataset)) / world_size)
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        names = _image_names(dataset)
        counts, areas = _rows(load_statistics(statistics), names, dataset.metainfo["classes"], statistics)
        if not counts.any():
            rule = "statistics in which an image of the data set has a labelled pixel"
            raise ValueError(expected("statistics", rule, f"none in '{statistics}'"))
        sampling = ClassSampling.of(counts, areas, temperature, min_share)
        self.probabilities = sampling.images(counts, areas)
        self._report(names, dict(zip(dataset.metainfo["classes"], sampling.probabilities, strict=True)))

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        drawn = draw_images(self.probabilities, len(self) * self.world_size, generator)
        return iter(drawn[self.rank :: self.world_size])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the draw; mmengine does it before each epoch."""
        self.epoch = epoch

    def _report(self, names: list[str], classes: dict[str, float]) -> None:
        """Say what images are drawn for, and how varied they are."""
        likely = sorted((name for name in classes if classes[name] > 0), key=classes.__getitem__, reverse=True)
        drawn_for = shorten([f"{name} ({classes[name]:.0%})" for name in likely])
        effective = effective_number(self.probabilities)
        most, number = int(self.probabilities.argmax()), len(self) * self.world_size
        never = int((self.probabilities == 0).sum())
        message = (
            f"{type(self).__name__}: {len(names)} images, drawn for {drawn_for}; as varied as {effective:.0f} that are "
            f"drawn alike; '{names[most]}' comes most often, {self.probabilities[most] * number:.1f} times an epoch of "
            f"{number}."
        )
        if never:
            message += f" {never} images are never drawn: they have no class, or too little of each that is rare."
        few = effective < _FEW * len(names)
        if few:
            message += " So few images are soon known by heart: raise `temperature`, or lower `min_share`."
        print_log(message, logger="current", level=logging.WARNING if few else logging.INFO)


def _image_names(dataset: BaseDataset | ConcatDataset) -> list[str]:
    """What statistics call the images of a data set, in its order."""
    if isinstance(dataset, ConcatDataset):
        return [name for part in dataset.datasets for name in _image_names(part)]
    if not isinstance(dataset, BaseDataset):
        cure = "Leave the wrapper away; `num_samples` makes epochs longer."
        raise TypeError(expected("dataset", "a data set of images or a ConcatDataset", type(dataset).__name__, cure))
    paths = (dataset.get_data_info(index)["img_path"] for index in range(len(dataset)))
    return [image_name(path, dataset.data_root) for path in paths]


def _rows(
    statistics: DatasetStatistics, names: list[str], classes: list[str], path: str
) -> tuple[np.ndarray, np.ndarray]:
    """The counts (N, K) and areas (N,) of images, whichever split of the statistics they are in."""
    cure = "Run tools/check_dataset.py again, with this config and data."
    if statistics.classes != tuple(classes):
        found = f"other {len(statistics.classes)} classes in '{path}'"
        raise ValueError(expected("statistics", f"of the {len(classes)} classes of the data set", found, cure))
    splits = statistics.splits.values()
    row_of: dict[str, int] = {}
    known = [name for split in splits for name in split.images]
    counts = np.concatenate([np.zeros((0, len(classes)), np.int64), *map(attrgetter("counts"), splits)])
    areas = counts.sum(axis=1) + np.concatenate([np.zeros(0, np.int64), *map(attrgetter("void"), splits)])
    for row, name in enumerate(known):
        first = row_of.setdefault(name, row)
        if (counts[first] != counts[row]).any():
            cure = "Give the data sets one data_root above both."
            raise ValueError(expected("statistics", "of one image a name", f"two named '{name}' in '{path}'", cure))
    unknown = [name for name in names if name not in row_of]
    if unknown:
        found = f"'{path}', which lacks {len(unknown)} of {len(names)}: {shorten(unknown, 3)}"
        raise ValueError(expected("statistics", "of all images of the data set", found, cure))
    rows = np.array([row_of[name] for name in names], np.int64)
    return counts[rows], areas[rows]
