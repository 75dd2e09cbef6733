"""The official scores of the Cityscapes benchmark, from counts over official label ids.

The definitions are those of M. Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR
2016, section 4, as computed by ``evalPixelLevelSemanticLabeling.py`` of cityscapesScripts 2.3.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected, shorten
from cityseg_ext.functional.confusion import Counts, mean_present, ratio, restrict_counts, segmentation_scores
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_IDS, LABEL_BY_ID, LABELS, MEAN_INSTANCE_PIXELS, Taxonomy

FloatArray = npt.NDArray[np.float64]

NUM_IDS = CITYSCAPES_IDS.num_classes
_OBJECT_BASE = 1000  # instance files hold 1000 * id + number for single objects
_HAS_SIZE = np.array([LABEL_BY_ID[number].name in MEAN_INSTANCE_PIXELS for number in range(NUM_IDS)])
_CATEGORY = np.array([LABEL_BY_ID[number].category_id for number in range(NUM_IDS)])
_SAME_CATEGORY = _CATEGORY[:, None] == _CATEGORY[None, :]


@dataclass(frozen=True)
class InstanceSums:
    """Pixels of single objects, each object weighted by (mean size of its class) / (its own size).

    All are float64 (34,), by the label id of the object.

    Attributes:
        found: pixels predicted as the object's class.
        missed: the others.
        category_found: pixels predicted as some class of the object's category, ignored ones (caravan) included.
        category_missed: the others.
    """

    found: FloatArray
    missed: FloatArray
    category_found: FloatArray
    category_missed: FloatArray


def instance_sums(pred_ids: npt.NDArray[np.uint8], instance_ids: npt.NDArray[np.integer]) -> InstanceSums:
    """Weigh the objects of one image.

    Args:
        pred_ids: uint8 (H, W), predicted label ids 0 to 33.
        instance_ids: integers (H, W), as in ``*_gtFine_instanceIds.png``. Values up to 1000 are no single objects
            (groups and things without instances) and do not count; neither do objects of void labels.

    Returns:
        Sums that :func:`~cityseg_ext.functional.records.add_up` adds over images.

    Raises:
        ValueError: if shapes differ, or an object is of a label that has none.

    Example:
        >>> pred, objects = np.array([[26, 24, 7]], np.uint8), np.array([[26001, 26001, 7]])
        >>> sums = instance_sums(pred, objects)
        >>> float(sums.found[26]) == float(sums.missed[26]) == MEAN_INSTANCE_PIXELS["car"] / 2
        True
    """
    if pred_ids.shape != instance_ids.shape:
        raise ValueError(expected("instance_ids", f"of the prediction's shape {pred_ids.shape}", instance_ids.shape))
    objects = instance_ids > _OBJECT_BASE
    numbers, guesses = instance_ids[objects].astype(np.int64), pred_ids[objects]
    labels = numbers // _OBJECT_BASE
    if numbers.max(initial=0) >> 16:  # the official files have 16 bits; a table of such numbers may not fit into memory
        _check_objects(np.unique(numbers))
    sizes = np.bincount(numbers)
    sums = [np.zeros(NUM_IDS) for _ in range(4)]
    _check_objects(np.flatnonzero(sizes))
    hits = np.bincount(numbers[guesses == labels], minlength=len(sizes))
    near = np.bincount(numbers[_SAME_CATEGORY[labels, guesses]], minlength=len(sizes))
    for label in np.unique(labels[_HAS_SIZE[labels]]):
        own = _OBJECT_BASE * label + np.flatnonzero(sizes[_OBJECT_BASE * label :][:_OBJECT_BASE])
        weights = MEAN_INSTANCE_PIXELS[LABEL_BY_ID[int(label)].name] / sizes[own]
        parts = (hits[own], sizes[own] - hits[own], near[own], sizes[own] - near[own])
        for total, pixels in zip(sums, parts, strict=True):
            total[label] = math.fsum((pixels * weights).tolist())
    return InstanceSums(*sums)


def _check_objects(numbers: npt.NDArray[np.integer]) -> None:
    labels = [LABEL_BY_ID.get(int(number) // _OBJECT_BASE) for number in numbers]
    bad = [
        int(number)
        for number, label in zip(numbers, labels, strict=True)
        if label is None or not (label.has_instances or label.ignore_in_eval)
    ]
    if bad:
        rule = f"ids, or {_OBJECT_BASE} * id + number for objects of labels that have instances"
        raise ValueError(expected("instance_ids", rule, shorten(bad)))


class CityscapesScores(NamedTuple):
    """Official scores as fractions of 1, by name; NaN where absent or not defined.

    A class or category that is neither in the truth nor, outside void, in the prediction is absent; one that is only
    predicted scores 0. iIoU is defined for classes with instances, and for categories all of whose labels have them.

    Attributes:
        iou: of each class, TP / (TP + FP + FN).
        iiou: of each class, iTP / (iTP + FP + iFN), where true pixels are weighted by objects; NaN without instances.
        category_iou: of each category: confusions within it count as right, but with ignored labels as misses.
        category_iiou: of each category.
    """

    iou: dict[str, float]
    iiou: dict[str, float]
    category_iou: dict[str, float]
    category_iiou: dict[str, float]

    @property
    def means(self) -> dict[str, float]:
        """Means over what is not NaN: ``mIoU``, ``miIoU``, ``category_mIoU``, ``category_miIoU``."""
        names = ("mIoU", "miIoU", "category_mIoU", "category_miIoU")
        return {name: mean_present(np.array(list(part.values()))) for name, part in zip(names, self, strict=True)}


def cityscapes_scores(
    counts: Counts, instances: InstanceSums | None = None, taxonomy: Taxonomy = CITYSCAPES_19
) -> CityscapesScores:
    """The official scores of confusion counts over label ids.

    Args:
        counts: int64 (34, 34); row: true label id, column: predicted label id. Rows of labels that are not evaluated
            do not count; predictions of such labels are misses.
        instances: weighted pixels of objects; without them iIoU is NaN.
        taxonomy: which labels are evaluated; officially the 19.

    Raises:
        ValueError: if no pixel was counted.

    Example:
        >>> counts = np.zeros((34, 34), np.int64)
        >>> counts[7, 7], counts[7, 8], counts[0, 7] = 6, 2, 99
        >>> scores = cityscapes_scores(counts)
        >>> scores.iou["road"], scores.iou["sidewalk"], scores.category_iou["flat"], scores.means["mIoU"]
        (0.75, 0.0, 1.0, 0.375)
    """
    ids = list(taxonomy.index_to_id)
    own = restrict_counts(counts, ids)
    iou = segmentation_scores(own).iou
    false = own.sum(axis=0)[: len(ids)] - np.diag(own)
    iiou = np.full(len(ids), np.nan)
    if instances is not None:
        found, missed = instances.found[ids], instances.missed[ids]
        iiou = np.where(_HAS_SIZE[ids], ratio(found, found + missed + false), np.nan)
    category_iou, category_iiou = {}, {}
    for name in dict.fromkeys(label.category for label in LABELS if label.id in ids):
        category_iou[name] = _category_iou(counts, name, ids)
        category_iiou[name] = _category_iiou(counts, instances, name, ids)
    names = taxonomy.classes
    return CityscapesScores(
        dict(zip(names, iou.tolist(), strict=True)),
        dict(zip(names, iiou.tolist(), strict=True)),
        category_iou,
        category_iiou,
    )


def _category_iou(counts: Counts, category: str, ids: list[int]) -> float:
    inside, outside = _split(category, ids)
    true = int(counts[inside].sum())
    hit = int(counts[np.ix_(inside, inside)].sum())
    union = true + int(counts[np.ix_(outside, inside)].sum())
    return hit / union if union else float("nan")


def _category_iiou(counts: Counts, instances: InstanceSums | None, category: str, ids: list[int]) -> float:
    members = [label for label in LABELS if label.category == category and label.id >= 0]
    if instances is None or not all(label.has_instances for label in members):
        return float("nan")
    inside, outside = _split(category, ids)
    found = math.fsum(instances.category_found[inside].tolist())
    missed = math.fsum(instances.category_missed[inside].tolist())
    # Unlike the category's IoU, ignored labels of the category count as predictions of it here.
    false = int(counts[np.ix_(outside, [label.id for label in members])].sum())
    union = found + missed + false
    return found / union if union else float("nan")


def _split(category: str, ids: list[int]) -> tuple[list[int], list[int]]:
    """The evaluated ids of a category, and the other evaluated ids."""
    inside = [number for number in ids if LABEL_BY_ID[number].category == category]
    return inside, [number for number in ids if number not in inside]
