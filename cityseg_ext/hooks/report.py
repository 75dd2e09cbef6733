"""What a report needs to know of a test run: counts of every image, and pictures of the best and the worst."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from cityseg_ext.checks import check_at_least, expected
from cityseg_ext.functional.boundary_scores import BAND_WIDTH, TOLERANCE, BoundaryCounts, boundary_counts
from cityseg_ext.functional.calibration import CalibrationCounts, calibration_counts
from cityseg_ext.functional.confusion import Counts, confusion_counts, mean_present, segmentation_scores
from cityseg_ext.hooks.prediction_panel import class_map, prediction_panel, relative_name

WIDTHS = tuple(sorted({0.00125, 0.0025, 0.01, 0.02} | {BAND_WIDTH, TOLERANCE}))
"""Widths at which borders are compared, as shares of the image diagonal; those of the usual scores are among them."""


class ReportCounts(NamedTuple):
    """What one image contributes.

    Attributes:
        confusion: int64 (K, K); row: true class, column: predicted class.
        borders: one for each of :data:`WIDTHS`, which is both the width of the band and the tolerance.
        calibration: pixels by confidence.
    """

    confusion: Counts
    borders: tuple[BoundaryCounts, ...]
    calibration: CalibrationCounts

    @property
    def mean_dice(self) -> float:
        """Mean Dice of this image alone; NaN where no pixel is labelled."""
        return mean_present(segmentation_scores(self.confusion).dice) if self.confusion.any() else float("nan")


@dataclass(frozen=True, order=True)
class Extreme:
    """One of the best or worst images; sorted by Dice, then by name.

    Attributes:
        dice: mean Dice of the image.
        name: the image.
    """

    dice: float
    name: str


@HOOKS.register_module()
class ReportHook(Hook):
    """Count every tested image, and keep panels of those with the best and the worst mean Dice.

    After the test every rank has the same in ``images`` (name -> counts, sorted by name), ``best`` and ``worst``
    (best and worst first; no image is in both) and ``panels`` (name -> RGB picture). Images are told apart by their
    names, so that samples that a distributed sampler repeats count once. Nothing is written.

    Args:
        num_images: how many of the best and of the worst.
        max_width: panels are reduced to this width, in pixels.

    Raises:
        ValueError: if a number is too small; when used, if a sample has no ground truth, or values are out of range.
    """

    def __init__(self, num_images: int = 4, max_width: int = 1600) -> None:
        check_at_least("num_images", num_images, 1)
        check_at_least("max_width", max_width, 256)
        self.num_images = num_images
        self.max_width = max_width
        self.images: dict[str, ReportCounts] = {}
        self.best: list[Extreme] = []
        self.worst: list[Extreme] = []
        self.panels: dict[str, np.ndarray] = {}

    def before_test(self, runner) -> None:
        self.images, self.best, self.worst, self.panels = {}, [], [], {}

    def after_test_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: Sequence[SegDataSample] | None = None
    ) -> None:
        """Count one batch."""
        dataset = runner.test_dataloader.dataset
        for sample in outputs or ():
            name = relative_name(sample.img_path, dataset)
            if name in self.images:
                continue
            self.images[name] = counts = _count(sample, len(dataset.metainfo["classes"]))
            if np.isnan(counts.mean_dice):
                continue
            self._choose([*self.best, *self.worst, Extreme(counts.mean_dice, name)])
            wanted = {image.name for image in self.best + self.worst}
            if name in wanted:  # a few times in a long run
                self.panels[name] = prediction_panel(sample, dataset, self.max_width)
            self.panels = {kept: panel for kept, panel in self.panels.items() if kept in wanted}

    def after_test(self, runner) -> None:
        """Bring together what the ranks have: the best of all are among the best of each."""
        images: dict[str, ReportCounts] = {}
        panels: dict[str, np.ndarray] = {}
        for part, pictures in all_gather_object((self.images, self.panels)):
            images |= part
            panels |= pictures
        self.images = dict(sorted(images.items()))
        self._choose(Extreme(images[name].mean_dice, name) for name in panels)
        half = len(panels) // 2  # of few images none is both
        self.best, self.worst = self.best[:half], self.worst[: len(panels) - half]
        self.panels = {image.name: panels[image.name] for image in self.best + self.worst}

    def _choose(self, images: Iterable[Extreme]) -> None:
        candidates = set(images)
        self.best = heapq.nlargest(self.num_images, candidates)
        self.worst = heapq.nsmallest(self.num_images, candidates)


def _count(sample: SegDataSample, num_classes: int) -> ReportCounts:
    if "gt_sem_seg" not in sample:
        cure = "Let the test pipeline load annotations."
        raise ValueError(expected("gt_sem_seg", f"in the data sample of '{sample.img_path}'", "none", cure))
    pred, truth = class_map(sample.pred_sem_seg.data), class_map(sample.gt_sem_seg.data)
    sure, guess = sample.seg_logits.data.float().softmax(dim=0).max(dim=0)
    try:
        confusion = confusion_counts(pred, truth, num_classes)
    except ValueError as error:
        raise ValueError(f"{error} The image is '{sample.img_path}'.") from error
    return ReportCounts(
        confusion,
        tuple(boundary_counts(pred, truth, num_classes, width, width) for width in WIDTHS),
        calibration_counts(sure.cpu().numpy(), guess.cpu().numpy(), truth),
    )
