"""Official scores, borders, thin structures and calibration, while a model is validated or tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmengine import fileio
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS

from cityseg_ext.checks import check_choice, file_problem
from cityseg_ext.functional.boundary_scores import BAND_WIDTH, TOLERANCE, boundary_counts, boundary_scores
from cityseg_ext.functional.calibration import NUM_BINS, CalibrationCounts, calibration_counts, calibration_scores
from cityseg_ext.functional.cityscapes_scores import NUM_IDS, cityscapes_scores, instance_sums
from cityseg_ext.functional.confusion import NOTHING_TO_SCORE, Counts, confusion_counts, mean_present
from cityseg_ext.functional.records import add_up
from cityseg_ext.functional.thin_structures import THIN_WIDTH, thin_counts, thin_recall
from cityseg_ext.labels import IGNORE_INDEX, INSTANCE_SUFFIX, LABEL_BY_NAME, LABEL_SUFFIXES
from cityseg_ext.metrics.samples import class_indices, class_names, field, sample_key, unique_by_key

SCORES = ("official", "boundary", "thin", "calibration")
_OFFICIAL = ("mIoU", "miIoU", "category_mIoU", "category_miIoU")
_ID_FILES = (LABEL_SUFFIXES["label_ids"], LABEL_SUFFIXES["train_ids"])


@METRICS.register_module()
class StreetSceneMetric(BaseMetric):
    """What ``DiceMetric`` does not tell: official scores, borders, thin structures and calibration.

    The counts of each image are kept under its path, so that the result is the same to the last bit for any batch
    size, order and number of ranks, and samples that a distributed sampler repeats count once. Values are fractions of
    1 and not rounded; classes without a value are left out, of means too:

    * ``official/mIoU``, ``miIoU``, ``category_mIoU``, ``category_miIoU``: over the 19 classes of the benchmark,
      whatever the classes of the model are; see
      :func:`~cityseg_ext.functional.cityscapes_scores.cityscapes_scores`. Only where all labels come from files of
      label ids or train ids with the official names; iIoU only where all their instance files are there;
    * ``mBoundaryIoU``, ``mBoundaryF`` and ``BoundaryIoU/<class>``, ``BoundaryF/<class>``: see
      :func:`~cityseg_ext.functional.boundary_scores.boundary_counts`;
    * ``mThinRecall`` and ``ThinRecall/<class>``: see
      :func:`~cityseg_ext.functional.thin_structures.thin_structures`;
    * ``ECE``: see :func:`~cityseg_ext.functional.calibration.calibration_scores`. The reliability curve is in the
      attribute ``reliability``, as counts in bins, on the main rank.

    Args:
        scores: which of ``'official'``, ``'boundary'``, ``'thin'`` and ``'calibration'``.
        width: of the band of boundary IoU; below 1 a share of the image diagonal, else pixels.
        tolerance: of boundary F, in the same units.
        thin_width: the greatest width of a thin structure, in the same units.
        num_bins: of the reliability curve.
        ignore_index: the value of void pixels.
        collect_device, prefix, collect_dir: as in mmengine's ``BaseMetric``.

    Raises:
        ValueError: if an option is wrong; when used, if sizes differ, a value is out of range, or nothing is labelled.

    Example:
        >>> metric = StreetSceneMetric(scores=['thin'], thin_width=1)
        >>> metric.dataset_meta = dict(classes=['road', 'pole'])
        >>> sample = dict(img_path='a.png', pred_sem_seg=dict(data=np.array([[0, 1, 0]])),
        ...               gt_sem_seg=dict(data=np.array([[0, 1, 0]])))
        >>> metric.process(None, [sample])
        >>> metric.evaluate(size=1)
        {'mThinRecall': 1.0, 'ThinRecall/pole': 1.0}
    """

    default_prefix = ""

    def __init__(
        self,
        scores: Sequence[str] = SCORES,
        width: float = BAND_WIDTH,
        tolerance: float = TOLERANCE,
        thin_width: float = THIN_WIDTH,
        num_bins: int = NUM_BINS,
        ignore_index: int = IGNORE_INDEX,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        for score in scores:
            check_choice("scores", score, SCORES)
        self.scores = tuple(scores)
        self.width, self.tolerance, self.thin_width = width, tolerance, thin_width
        self.num_bins = num_bins
        self.ignore_index = ignore_index
        self.reliability: CalibrationCounts | None = None

    @property
    def classes(self) -> Sequence[str]:
        """Class names, from the data set; ``ValueError`` if it has none."""
        return class_names(self.dataset_meta)

    def metric_names(self) -> list[str]:
        """All names that the result can have: what a ``monitor`` or ``save_best`` may be."""
        names = [f"official/{name}" for name in _OFFICIAL] if "official" in self.scores else []
        kinds = {"boundary": ("BoundaryIoU", "BoundaryF"), "thin": ("ThinRecall",)}
        for score in self.scores:
            for kind in kinds.get(score, ()):
                names += [f"m{kind}", *(f"{kind}/{name}" for name in self.classes)]
        names += ["ECE"] if "calibration" in self.scores else []
        return [f"{self.prefix}/{name}" if self.prefix else name for name in names]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; see mmengine's ``BaseMetric``."""
        for sample in data_samples:
            key = sample_key(sample)
            try:
                self.results.append((key, self._count(sample)))
            except ValueError as error:
                raise ValueError(f"{error} The image is '{key}'.") from error

    def _count(self, sample: dict) -> dict[str, Any]:
        pred, target = class_indices(sample, "pred_sem_seg"), class_indices(sample, "gt_sem_seg")
        confusion = confusion_counts(pred, target, len(self.classes), self.ignore_index)  # checks sizes and ranges
        counts: dict[str, Any] = dict(labelled=int(confusion.sum()))
        if "official" in self.scores:
            counts["official"] = self._official(sample, pred, target)
        if "boundary" in self.scores:
            counts["boundary"] = boundary_counts(
                pred, target, len(self.classes), self.width, self.tolerance, self.ignore_index
            )
        if "thin" in self.scores:
            counts["thin"] = thin_counts(pred, target, len(self.classes), self.thin_width, self.ignore_index)
        if "calibration" in self.scores:
            confidence, guess = field(sample, "seg_logits").float().softmax(dim=0).max(dim=0)
            sure, guess = confidence.cpu().numpy(), guess.cpu().numpy()
            counts["calibration"] = calibration_counts(sure, guess, target, self.num_bins, self.ignore_index)
        return counts

    def _official(self, sample: dict, pred: np.ndarray, target: np.ndarray) -> tuple[Counts, Any] | None:
        """Counts over label ids and of objects; None if the label file does not tell label ids."""
        path = str(sample.get("seg_map_path"))
        end = next((end for end in _ID_FILES if path.lower().endswith(end.lower())), None)
        if end is None or not set(self.classes) <= set(LABEL_BY_NAME):
            return None
        to_id = np.full(256, LABEL_BY_NAME["unlabeled"].id, np.uint8)
        to_id[: len(self.classes)] = [LABEL_BY_NAME[name].id for name in self.classes]
        to_id[self.ignore_index] = LABEL_BY_NAME["unlabeled"].id
        pred_ids = cv2.LUT(pred, to_id)
        confusion = confusion_counts(pred_ids, cv2.LUT(target, to_id), NUM_IDS)
        instances = path[: -len(end)] + INSTANCE_SUFFIX
        if not fileio.exists(instances):
            return confusion, None
        data = np.frombuffer(fileio.get(instances), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if pixels is None or pixels.ndim != 2:
            raise ValueError(file_problem(instances, "a readable map of instance ids", "another kind of file"))
        return confusion, instance_sums(pred_ids, pixels)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores of the whole data set; see mmengine's ``BaseMetric``."""
        images = list(unique_by_key(results).values())
        if not any(image["labelled"] for image in images):
            raise ValueError(NOTHING_TO_SCORE)
        parts = {name: [image[name] for image in images] for name in self.scores}
        metrics: dict[str, float] = {}
        if "official" in parts:
            metrics |= _official_means(parts["official"])
        if "boundary" in parts:
            borders = boundary_scores(add_up(parts["boundary"]))
            metrics |= self._by_class("BoundaryIoU", borders.iou) | self._by_class("BoundaryF", borders.f)
        if "thin" in parts:
            metrics |= self._by_class("ThinRecall", thin_recall(add_up(parts["thin"])))
        if "calibration" in parts:
            self.reliability = add_up(parts["calibration"])
            metrics["ECE"] = calibration_scores(self.reliability).ece
        return {name: value for name, value in metrics.items() if not np.isnan(value)}

    def _by_class(self, kind: str, values: np.ndarray) -> dict[str, float]:
        named = {f"{kind}/{name}": float(value) for name, value in zip(self.classes, values, strict=True)}
        return {f"m{kind}": mean_present(values)} | named


def _official_means(images: list[tuple[Counts, Any] | None]) -> dict[str, float]:
    counted = [image for image in images if image is not None]
    if len(counted) < len(images):
        print_log(
            f"No official scores: the labels of {len(images) - len(counted)} of {len(images)} images come from no file "
            f"*{' or *'.join(_ID_FILES)}, or have other classes. In colour masks 'polegroup', which the official "
            "evaluation ignores, has the colour of 'pole'.",
            logger="current",
        )
        return {}
    instances = [objects for _, objects in counted]
    missing = sum(objects is None for objects in instances)
    if missing:
        print_log(f"No iIoU: {missing} of {len(images)} images have no *{INSTANCE_SUFFIX}.", logger="current")
    confusion = np.sum([counts for counts, _ in counted], axis=0, dtype=np.int64)
    means = cityscapes_scores(confusion, None if missing else add_up(instances)).means
    return {f"official/{name}": value for name, value in means.items()}
