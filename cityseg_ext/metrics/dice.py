"""Dice, IoU and accuracy from exact confusion counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from prettytable import PrettyTable

from cityseg_ext.functional.confusion import (
    SegmentationScores,
    confusion_counts,
    mean_present,
    segmentation_scores,
)
from cityseg_ext.labels import IGNORE_INDEX
from cityseg_ext.metrics.samples import class_indices, class_names, sample_key, unique_by_key

MEANS = ("mDice", "mIoU", "mAcc", "aAcc", "mDice_per_image")


@METRICS.register_module()
class DiceMetric(BaseMetric):
    """Dice and IoU of every class, their means, and accuracies.

    One confusion matrix of int64 an image is kept, under the image's path, so that the result depends neither on batch
    size, order or number of ranks, nor on samples that a distributed sampler repeats.

    Values are fractions of 1 and not rounded:

    * ``mDice``, ``mIoU``: mean over classes of the Dice and IoU of all images' pixels together;
    * ``mAcc``: mean over classes of the share of a class's pixels that are found; ``aAcc``: of all pixels;
    * ``mDice_per_image``: mean over images of each image's own mean Dice, which is higher or lower than ``mDice``
      depending on the classes that are rare (it is what small projects often report);
    * ``Dice/<class>``, ``IoU/<class>``.

    Absent classes (no pixel in truth and prediction) are left out of the means and have no ``Dice/<class>`` value; the
    table says how many were averaged. Images without any labelled pixel do not count in ``mDice_per_image``.

    Args:
        ignore_index: the value of void pixels.
        table: whether to log the table of classes.
        collect_device, prefix, collect_dir: as in mmengine's ``BaseMetric``.

    Raises:
        ValueError: when used, if a prediction's size differs from the truth's, a value is out of range, or nothing was
            labelled in the whole data set.

    Example:
        >>> metric = DiceMetric(table=False)
        >>> metric.dataset_meta = dict(classes=['road', 'sky'])
        >>> sample = dict(img_path='a.png', pred_sem_seg=dict(data=np.array([[0, 1]])),
        ...               gt_sem_seg=dict(data=np.array([[0, 255]])))
        >>> metric.process(None, [sample])
        >>> metric.evaluate(size=1)['mDice']
        1.0
    """

    default_prefix = ""

    def __init__(
        self,
        ignore_index: int = IGNORE_INDEX,
        table: bool = True,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.ignore_index = ignore_index
        self.table = table

    @property
    def classes(self) -> Sequence[str]:
        """Class names, from the data set; ``ValueError`` if it has none."""
        return class_names(self.dataset_meta)

    def metric_names(self) -> list[str]:
        """All names that the result can have: what a ``monitor`` or ``save_best`` may be."""
        names = [*MEANS, *(f"{kind}/{name}" for kind in ("Dice", "IoU") for name in self.classes)]
        return [f"{self.prefix}/{name}" if self.prefix else name for name in names]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; see mmengine's ``BaseMetric``."""
        for sample in data_samples:
            key = sample_key(sample)
            pred, target = class_indices(sample, "pred_sem_seg"), class_indices(sample, "gt_sem_seg")
            try:
                counts = confusion_counts(pred, target, len(self.classes), self.ignore_index)
            except ValueError as error:
                raise ValueError(f"{error} The image is '{key}'.") from error
            self.results.append((key, counts))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores of the whole data set; see mmengine's ``BaseMetric``."""
        per_image = list(unique_by_key(results).values())
        total = np.sum(per_image, axis=0, dtype=np.int64) if per_image else np.zeros((1, 1), np.int64)
        scores = segmentation_scores(total)
        image_dice = [mean_present(segmentation_scores(counts).dice) for counts in per_image if counts.any()]
        metrics = {
            "mDice": mean_present(scores.dice),
            "mIoU": mean_present(scores.iou),
            "mAcc": mean_present(scores.acc),
            "aAcc": scores.overall_acc,
            "mDice_per_image": float(np.mean(image_dice)),
        }
        if self.table:
            print_log(f"\n{self._table(scores)}", logger="current")
        for kind, values in (("Dice", scores.dice), ("IoU", scores.iou)):
            for name, value in zip(self.classes, values, strict=True):
                if not np.isnan(value):
                    metrics[f"{kind}/{name}"] = float(value)
        return metrics

    def _table(self, scores: SegmentationScores) -> str:
        table = PrettyTable(["class", "Dice %", "IoU %", "Acc %"], align="r")
        table.align["class"] = "l"
        for row in zip(self.classes, scores.dice, scores.iou, scores.acc, strict=True):
            table.add_row([row[0], *(_percent(value) for value in row[1:])], divider=row[0] == self.classes[-1])
        means = (mean_present(values) for values in (scores.dice, scores.iou, scores.acc))
        table.add_row([f"mean of {scores.num_averaged} classes", *(_percent(value) for value in means)])
        absent = len(self.classes) - scores.num_averaged
        note = f"\n{absent} absent classes (-) are left out of the means." if absent else ""
        return f"{table}\nPixel accuracy {_percent(scores.overall_acc)} %.{note}"


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f}"
