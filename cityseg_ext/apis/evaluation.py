"""Scoring a folder of predictions against a folder of ground truth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cityseg_ext.apis.evaluation_counts import Counting, ImageCounts, add_images, missing_instances
from cityseg_ext.apis.evaluation_pairs import PRED_TYPES, Pair, detect_type, find_pairs
from cityseg_ext.apis.processes import map_in_processes
from cityseg_ext.checks import check_at_least, check_choice, expected, shorten
from cityseg_ext.labels import INSTANCE_SUFFIX, LABEL_SUFFIXES, Taxonomy, TaxonomyLike, get_taxonomy
from cityseg_ext.transforms.image_file import read_image_bytes

NOT_OFFICIAL = (
    "These are not the official scores: the ground truth came from colour masks, in which 'polegroup', which the "
    "official evaluation ignores, has the colour of 'pole'."
)


@dataclass(frozen=True)
class Evaluation:
    """What was counted.

    Attributes:
        taxonomy: the classes that are scored.
        pred_type: what the predictions hold.
        gt_type: what the ground truth holds.
        pairs: the files of each image, sorted by key.
        images: the counts of each image, in the same order.
        total: the counts of all.
        notes: what a reader of the scores should know, a sentence each.
    """

    taxonomy: Taxonomy
    pred_type: str
    gt_type: str
    pairs: tuple[Pair, ...]
    images: tuple[ImageCounts, ...]
    total: ImageCounts
    notes: tuple[str, ...]

    @property
    def official(self) -> bool:
        """Whether class and category scores are those of the official evaluation."""
        return self.gt_type != "color"


def evaluate(
    pred_dir: str | Path,
    gt_dir: str | Path,
    pred_type: str | None = None,
    gt_type: str | None = None,
    taxonomy: TaxonomyLike = "cityscapes19",
    iiou: bool | None = None,
    boundary: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score PNG files of ids against ground truth, on all cores.

    Nothing is written. Everything is counted over official label ids, so that predictions of classes that are not
    evaluated are misses, and no pixel is left out because of what was predicted there.

    Args:
        pred_dir: folder of predictions, at any depth; see :func:`~cityseg_ext.apis.evaluation_pairs.find_pairs`.
        gt_dir: folder of ground truth, at any depth.
        pred_type: ``'train_ids'`` (255: no class) or ``'label_ids'``; by default found out from the values.
        gt_type: ``'label_ids'``, ``'train_ids'`` or ``'color'``; by default the first of these that the official names
            say is there, and for other names found out from the values.
        taxonomy: the classes to score, and the numbering of train ids.
        iiou: whether to compute instance-weighted IoU; by default if all instance files are there.
        boundary: whether to score borders and thin structures too.
        workers: processes; all cores by default; 0 and 1 work in this process.
        progress: called with (images done, images in all).

    Raises:
        FileNotFoundError: if a folder is missing or has no PNG.
        ValueError: if files have no partner, cannot be read, differ in size, or hold other values; all are listed.
        ChildProcessError: if a worker was killed.
    """
    taxonomy = get_taxonomy(taxonomy)
    for name, value, choices in (("pred_type", pred_type, PRED_TYPES), ("gt_type", gt_type, LABEL_SUFFIXES)):
        if value is not None:
            check_choice(name, value, choices)
    if workers is not None:
        check_at_least("workers", workers, 0)
    pairs, named = find_pairs(str(pred_dir), str(gt_dir), gt_type)
    missing = missing_instances(pairs) if iiou is not False else []
    if iiou and missing:
        rule = f"left out where instance files (*{INSTANCE_SUFFIX} beside the ground truth) are missing"
        raise ValueError(
            expected("iiou", rule, f"asked for, and {len(missing)} of {len(pairs)} lack: {shorten(missing)}")
        )
    notes = []
    if gt_type is None:
        gt_type = named or _unnamed_type([pair.truth for pair in pairs], taxonomy)
        notes.append(f"Ground truth: {_words(gt_type)}, as {'names' if named else 'values'} say.")
    if pred_type is None:
        pred_type = detect_type((pair.pred for pair in pairs), taxonomy, "pred_type", "predictions")
        notes.append(f"Predictions: {_words(pred_type)}, as values say.")
    if gt_type == "color":
        notes.append(NOT_OFFICIAL)
    if iiou is None:
        iiou = not missing
        if missing:
            notes.append(f"No iIoU: {len(missing)} of {len(pairs)} images have no *{INSTANCE_SUFFIX}.")
    images = _count(pairs, Counting(pred_type, gt_type, taxonomy, iiou, boundary), workers, progress)
    total = add_images(images)
    if not total.confusion[list(taxonomy.index_to_id)].any():
        raise ValueError(
            f"Expected at least one labelled pixel of {taxonomy.name} in '{gt_dir}', but every pixel of its "
            f"{len(pairs)} ground truths is void. Check --gt-type ({gt_type})."
        )
    return Evaluation(taxonomy, pred_type, gt_type, tuple(pairs), tuple(images), total, tuple(notes))


def _unnamed_type(paths: list[str], taxonomy: Taxonomy) -> str:
    _, first = read_image_bytes(paths[0], "label")
    if first.mode in ("RGB", "RGBA"):
        return "color"
    return detect_type(paths, taxonomy, "gt_type", "ground truths")


def _words(kind: str) -> str:
    return {"color": "colour masks"}.get(kind, kind.replace("_", " "))


def _count(
    pairs: list[Pair], counting: Counting, workers: int | None, progress: Callable[[int, int], None] | None
) -> list[ImageCounts]:
    images, problems = [], []
    with closing(map_in_processes(counting, pairs, workers, "workers")) as results:
        for done, result in enumerate(results, start=1):
            (problems if isinstance(result, str) else images).append(result)
            if progress is not None:
                progress(done, len(pairs))
    if len(problems) == 1:
        raise ValueError(problems[0])
    if problems:
        raise ValueError(
            f"Expected {len(pairs)} images that can be scored, but {len(problems)} cannot: "
            f"{' '.join(problems[:5])}" + (f" And {len(problems) - 5} more." if len(problems) > 5 else "")
        )
    return images
