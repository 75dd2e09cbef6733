"""What one image contributes to the scores."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from cityseg_ext.apis.evaluation_pairs import Pair
from cityseg_ext.checks import file_problem, shorten
from cityseg_ext.functional.boundary_scores import BoundaryCounts, boundary_counts
from cityseg_ext.functional.cityscapes_scores import NUM_IDS, InstanceSums, instance_sums
from cityseg_ext.functional.confusion import Counts, joint_histogram, rename_counts
from cityseg_ext.functional.records import add_up
from cityseg_ext.functional.thin_structures import ThinCounts, thin_counts
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_IDS, IGNORE_INDEX, LABEL_BY_NAME, Taxonomy
from cityseg_ext.transforms.label_file import read_ids, read_label, unknown_problem

_VOID_ID = LABEL_BY_NAME["unlabeled"].id


class ImageCounts(NamedTuple):
    """The counts of one image, or of many added up.

    Attributes:
        confusion: int64 (34, 34); row: true label id, column: predicted label id, whatever the files hold.
        instances: weighted pixels of objects; None if not asked for.
        boundary: pixels near borders, by class of the taxonomy; None if not asked for.
        thin: pixels of thin structures; None if not asked for.
    """

    confusion: Counts
    instances: InstanceSums | None
    boundary: BoundaryCounts | None
    thin: ThinCounts | None


@dataclass(frozen=True)
class Counting:
    """How the files of an image are read and counted; called with a pair, in any process.

    Attributes:
        pred_type: ``'train_ids'`` or ``'label_ids'``.
        gt_type: the same, or ``'color'``.
        taxonomy: numbering of train ids, and the classes of borders.
        iiou: whether to read instance files.
        boundary: whether to compare borders and thin structures.
    """

    pred_type: str
    gt_type: str
    taxonomy: Taxonomy
    iiou: bool
    boundary: bool

    def __call__(self, pair: Pair) -> ImageCounts | str:
        """The counts of an image, or the sentence that says what is wrong with its files."""
        try:
            return self._count(pair)
        except (ValueError, OSError) as error:
            return str(error)

    def _count(self, pair: Pair) -> ImageCounts:
        pred, truth = self._read_pred(pair.pred), self._read_truth(pair.truth)
        if pred.shape != truth.shape:
            rule = f"of its ground truth's size {truth.shape[1]}x{truth.shape[0]} (width x height)"
            raise ValueError(file_problem(pair.pred, rule, f"{pred.shape[1]}x{pred.shape[0]}"))
        histogram = joint_histogram(pred, truth)
        to_pred, to_truth = _to_ids(self.pred_type, self.taxonomy), _to_ids(self._truth_numbers, self.taxonomy)
        _check_values(pair.pred, histogram.sum(axis=0), to_pred, self.pred_type, "--pred-type")
        _check_values(pair.truth, histogram.sum(axis=1), to_truth, self._truth_numbers, "--gt-type", void=True)
        confusion = rename_counts(histogram, _as_table(to_truth), _as_table(to_pred), NUM_IDS)
        pred_ids = cv2.LUT(pred, _as_table(to_pred)) if self.iiou or self.boundary else pred
        instances = self._instances(pair, pred_ids) if self.iiou else None
        boundary = thin = None
        if self.boundary:
            to_index = np.full(256, IGNORE_INDEX, np.uint8)
            to_index[:NUM_IDS] = [self.taxonomy.id_to_index[number] for number in range(NUM_IDS)]
            maps = cv2.LUT(pred_ids, to_index), cv2.LUT(cv2.LUT(truth, _as_table(to_truth)), to_index)
            boundary = boundary_counts(*maps, self.taxonomy.num_classes)
            thin = thin_counts(*maps, self.taxonomy.num_classes)
        return ImageCounts(confusion, instances, boundary, thin)

    @property
    def _truth_numbers(self) -> str:
        return "label_ids" if self.gt_type == "color" else self.gt_type  # colours are read as ids

    def _read_pred(self, path: str) -> np.ndarray:
        return _narrow(path, read_ids(path, "Predictions must hold ids: convert them, or leave them out."))

    def _read_truth(self, path: str) -> np.ndarray:
        if self.gt_type != "color":
            return _narrow(path, read_ids(path, "If these are colour masks: --gt-type color."))
        decoded = read_label(path, "color", CITYSCAPES_IDS)
        if decoded.unknown:
            raise ValueError(unknown_problem(path, decoded, "color", CITYSCAPES_19, "Convert them with care first."))
        return decoded.indices

    def _instances(self, pair: Pair, pred_ids: np.ndarray) -> InstanceSums:
        numbers = read_ids(pair.instances, "Restore it, or leave iIoU out: --no-iiou.")
        if numbers.shape != pred_ids.shape:
            rule = f"of its ground truth's size {pred_ids.shape[1]}x{pred_ids.shape[0]} (width x height)"
            raise ValueError(file_problem(pair.instances, rule, f"{numbers.shape[1]}x{numbers.shape[0]}"))
        try:
            return instance_sums(pred_ids, numbers)
        except ValueError as error:
            raise ValueError(f"{error} The file is '{pair.instances}'.") from error


def add_images(images: Iterable[ImageCounts]) -> ImageCounts:
    """Add counts; integers and floats come out the same in any order."""
    parts = list(zip(*images, strict=True))
    confusion = np.sum(parts[0], axis=0, dtype=np.int64)
    return ImageCounts(confusion, *(None if part[0] is None else add_up(part) for part in parts[1:]))


def _to_ids(kind: str, taxonomy: Taxonomy) -> dict[int, int]:
    """Value in the file -> label id, for all values allowed."""
    if kind == "label_ids":
        return {number: number for number in range(NUM_IDS)}
    return dict(enumerate(taxonomy.index_to_id)) | {IGNORE_INDEX: _VOID_ID}


def _as_table(to_ids: dict[int, int]) -> np.ndarray:
    table = np.full(256, _VOID_ID, np.uint8)
    table[list(to_ids)] = list(to_ids.values())
    return table


def _narrow(path: str, pixels: np.ndarray) -> np.ndarray:
    """uint8; nothing wraps around, but -1 (licence plate) becomes 255."""
    if pixels.dtype == np.uint8:
        return pixels
    bad = np.unique(pixels[(pixels < -1) | (pixels > IGNORE_INDEX)])
    if len(bad):
        raise ValueError(file_problem(path, "a map of ids 0 to 255", shorten(bad.tolist())))
    return (pixels % 256).astype(np.uint8)


def _check_values(
    path: str, histogram: np.ndarray, allowed: dict[int, int], kind: str, flag: str, void: bool = False
) -> None:
    """Values outside the range are named; in ground truth 255 is void (label ids: the licence plate, -1)."""
    bad = [value for value in np.flatnonzero(histogram).tolist() if value not in allowed]
    if void and IGNORE_INDEX in bad:
        bad.remove(IGNORE_INDEX)
    if bad:
        top = max(value for value in allowed if value != IGNORE_INDEX)
        also = f" (or {IGNORE_INDEX})" if void or IGNORE_INDEX in allowed else ""
        found = shorten([f"{value}: {histogram[value]} pixels" for value in bad])
        cure = f"If it holds other numbers, say so: {flag}."
        raise ValueError(file_problem(path, f"a map of {kind.replace('_', ' ')} 0 to {top}{also}", found, cure))


def missing_instances(pairs: Iterable[Pair]) -> list[str]:
    """The images without instance file."""
    return [pair.key for pair in pairs if pair.instances is None or not os.path.isfile(pair.instances)]
