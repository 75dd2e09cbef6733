"""Crops that keep a rare class: the registered face of ``functional.crop_windows``."""

from __future__ import annotations

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import RandomCrop
from mmseg.registry import TRANSFORMS

from cityseg_ext.checks import expected
from cityseg_ext.functional.class_sampling import ClassSampling
from cityseg_ext.functional.crop_windows import label_histogram, nth_true, windows_with
from cityseg_ext.labels import IGNORE_INDEX, get_taxonomy
from cityseg_ext.statistics_file import load_statistics

_TRIES = 10  # as many as mmseg's RandomCrop makes


@TRANSFORMS.register_module()
class ClassAwareCrop(RandomCrop):
    """mmseg's ``RandomCrop``, except that each crop holds enough of a class that is drawn first.

    The class is one that the image holds: with statistics, each with the probability that ``ClassBalancedSampler`` drew
    the image for it; without, all alike. The crop is then any of those, all alike, that hold ``min_share`` of the
    image's pixels in that class, or half of what the image has of it where that is less; where none does, one that
    holds most. All positions are considered, so that nothing depends on luck.

    An image smaller than the crop is kept whole in that direction. One without labelled pixels is cropped at random.

    Required Keys:

    - img (np.ndarray): (H, W, 3)
    - gt_seg_map (np.ndarray): uint8 (H, W); without it the image is cropped at random
    - seg_fields (list), and the maps that it names: optional
    - taxonomy: optional; it must have the classes of the statistics

    Modified Keys:

    - img, img_shape
    - the maps of seg_fields (np.ndarray): cropped as the image is

    Args:
        crop_size: (height, width).
        statistics: ``stats.json`` of ``tools/check_dataset.py``, of which the training images count; or None.
        temperature, min_share: as in ``ClassBalancedSampler``: give both the same. Without statistics the temperature
            means nothing.
        cat_max_ratio: where a class, whichever, has so large a share of the labelled pixels of a crop or more, or it is
            the only one, another position is drawn, at most ten times in all, as mmseg does. 1: any crop will do.

    Raises:
        FileNotFoundError: if there is no such file of statistics.
        ValueError: if statistics have no training labels or are of other classes, a number is out of range, or a label
            map is not uint8.
    """

    def __init__(
        self,
        crop_size: int | tuple[int, int],
        statistics: str | None = None,
        temperature: float = 0.01,
        min_share: float = 0.0015,
        cat_max_ratio: float = 0.75,
    ) -> None:
        super().__init__(crop_size if isinstance(crop_size, int) else tuple(crop_size), cat_max_ratio, IGNORE_INDEX)
        self.statistics = statistics
        self.temperature = temperature
        self.min_share = min_share
        self.classes: tuple[str, ...] | None = None
        if statistics is None:
            self.sampling = ClassSampling.alike(IGNORE_INDEX, min_share)
            return
        known = load_statistics(statistics)
        train = known.splits.get("train")
        if train is None or not train.counts.any():
            rule, cure = "statistics with training labels", "Check a config that has a train_dataloader."
            raise ValueError(expected("statistics", rule, f"none in '{statistics}'", cure))
        self.classes = known.classes
        areas = train.counts.sum(axis=1) + train.void
        self.sampling = ClassSampling.of(train.counts, areas, temperature, min_share)

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """Choose a crop: first row, end of rows, first column, end of columns."""
        size = results["img"].shape[:2]
        height, width = (min(side, whole) for side, whole in zip(self.crop_size, size, strict=True))
        labels = results.get("gt_seg_map")
        target, least = (None, 0) if labels is None else self._draw_target(results, labels)
        if target is None:
            windows = np.ones((size[0] - height + 1, size[1] - width + 1), bool)
        else:
            windows = windows_with(labels == target, height, width, least)
        number = np.count_nonzero(windows)
        for _ in range(_TRIES):
            row, column = nth_true(windows, np.random.randint(number))
            box = row, row + height, column, column + width
            if target is None or self._is_mixed(self.crop(labels, box)):
                break
        return box

    def _draw_target(self, results: dict, labels: np.ndarray) -> tuple[int | None, float]:
        """A class, and how many pixels of it to keep; None if there is no class."""
        if labels.dtype != np.uint8:
            raise ValueError(expected("gt_seg_map", "class indices of type uint8", labels.dtype))
        if self.classes is not None and "taxonomy" in results:
            classes = get_taxonomy(results["taxonomy"]).classes
            if classes != self.classes:
                found = f"those of other {len(self.classes)} classes in '{self.statistics}'"
                cure = "Run tools/check_dataset.py again, with this config."
                raise ValueError(expected("statistics", f"of the {len(classes)} classes of the data", found, cure))
        pixels = label_histogram(labels)[: len(self.sampling.probabilities)]
        probabilities = self.sampling.classes(pixels, labels.size)
        if not probabilities.any():
            return None, 0
        target = int(np.random.choice(len(probabilities), p=probabilities))
        return target, max(1, min(self.min_share * labels.size, pixels[target] / 2))

    def _is_mixed(self, labels: np.ndarray) -> bool:
        if self.cat_max_ratio >= 1:
            return True
        pixels = label_histogram(labels)
        return pixels.max() < self.cat_max_ratio * pixels.sum()

    def __repr__(self) -> str:
        names = ("crop_size", "statistics", "temperature", "min_share", "cat_max_ratio")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"
