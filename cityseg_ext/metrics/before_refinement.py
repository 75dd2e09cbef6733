"""Scores of what a model predicted before a refiner changed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

from cityseg_ext.metrics.samples import field

BEFORE = "before/"


@METRICS.register_module()
class BeforeRefinement(BaseMetric):
    """Another metric, computed from the unrefined prediction that ``RefinedSegmentor`` keeps in every sample.

    Its values are named as the other metric's, with ``before/`` in front, so that one run has the scores of both.

    Args:
        metric: config of the other metric.

    Raises:
        ValueError: when used, if a sample has no unrefined prediction.
    """

    default_prefix = ""

    def __init__(self, metric: dict) -> None:
        self.metric = METRICS.build(metric)
        super().__init__(collect_device=self.metric.collect_device)

    @property
    def dataset_meta(self) -> dict | None:
        """Facts about the data set, such as its classes."""
        return self.metric.dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        self.metric.dataset_meta = meta

    def metric_names(self) -> list[str]:
        """All names that the result can have."""
        return [BEFORE + name for name in self.metric.metric_names()]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; see mmengine's ``BaseMetric``."""
        kept = dict(seg_logits="unrefined_logits", pred_sem_seg="unrefined_sem_seg")
        unrefined = [
            {**sample, **{name: dict(data=field(sample, source)) for name, source in kept.items()}}
            for sample in data_samples
        ]
        self.metric.process(data_batch, unrefined)

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of the whole data set; see mmengine's ``BaseMetric``."""
        return {BEFORE + name: value for name, value in self.metric.evaluate(size).items()}

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As the other metric's."""
        return self.metric.compute_metrics(results)
