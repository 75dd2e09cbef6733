"""Scores of an evaluation as tables, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from prettytable import PrettyTable

from cityseg_ext.apis.evaluation import Evaluation
from cityseg_ext.apis.evaluation_counts import ImageCounts
from cityseg_ext.checks import expected
from cityseg_ext.functional.boundary_scores import BAND_WIDTH, TOLERANCE, boundary_scores
from cityseg_ext.functional.cityscapes_scores import cityscapes_scores
from cityseg_ext.functional.confusion import mean_present, restrict_counts, segmentation_scores
from cityseg_ext.functional.thin_structures import THIN_WIDTH, thin_recall
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_IDS, Taxonomy
from cityseg_ext.whole_file import check_writable, write_whole

Row = dict[str, float]


def class_rows(counts: ImageCounts, taxonomy: Taxonomy) -> dict[str, Row]:
    """Every score of every class; NaN where it is absent or not defined."""
    scores = segmentation_scores(restrict_counts(counts.confusion, taxonomy.index_to_id))
    official = cityscapes_scores(counts.confusion, counts.instances, taxonomy)
    columns = {"IoU": scores.iou, "iIoU": np.array(list(official.iiou.values())), "Dice": scores.dice}
    columns |= {"Recall": scores.acc, "Precision": scores.precision}
    if counts.boundary is not None and len(counts.boundary.band_both) == taxonomy.num_classes:
        borders = boundary_scores(counts.boundary)
        columns |= {"BoundaryIoU": borders.iou, "BoundaryF": borders.f, "ThinRecall": thin_recall(counts.thin)}
    return {
        name: {column: float(values[index]) for column, values in columns.items()}
        for index, name in enumerate(taxonomy.classes)
    }


def category_rows(counts: ImageCounts, taxonomy: Taxonomy) -> dict[str, Row]:
    """IoU and iIoU of every category."""
    scores = cityscapes_scores(counts.confusion, counts.instances, taxonomy)
    return {
        name: {"IoU": scores.category_iou[name], "iIoU": scores.category_iiou[name]} for name in scores.category_iou
    }


def means(rows: Mapping[str, Row]) -> Row:
    """The mean of each column over the rows where it is not NaN."""
    columns = next(iter(rows.values()))
    return {column: mean_present(np.array([row[column] for row in rows.values()])) for column in columns}


def as_table(evaluation: Evaluation) -> str:
    """What a person reads: classes and categories in per cent, then what to know about them."""
    parts = [_tables(evaluation.total, evaluation.taxonomy)]
    if evaluation.taxonomy != CITYSCAPES_19 and _has_pixels(evaluation.total, CITYSCAPES_19):
        parts.append(f"The same predictions scored on {CITYSCAPES_19.name}; other classes predicted are misses:")
        parts.append(_tables(evaluation.total, CITYSCAPES_19))
    return "\n".join([*parts, *evaluation.notes])


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """What programs read: unrounded fractions, None where a class is absent or a score not defined."""
    result = _scores(evaluation.total, evaluation.taxonomy)
    if evaluation.taxonomy != CITYSCAPES_19 and _has_pixels(evaluation.total, CITYSCAPES_19):
        result[CITYSCAPES_19.name] = _scores(evaluation.total, CITYSCAPES_19)
    result |= dict(
        images=len(evaluation.images),
        taxonomy=evaluation.taxonomy.name,
        pred_type=evaluation.pred_type,
        gt_type=evaluation.gt_type,
        official=evaluation.official,
        notes=list(evaluation.notes),
        confusion=dict(labels=list(CITYSCAPES_IDS.classes), counts=evaluation.total.confusion.tolist()),
    )
    if evaluation.total.boundary is not None:
        result["widths"] = dict(BoundaryIoU=BAND_WIDTH, BoundaryF=TOLERANCE, ThinRecall=THIN_WIDTH, unit="diagonals")
    return without_nan(result)


def as_csv(evaluation: Evaluation) -> str:
    """A row a class, a category and a mean; unrounded fractions, empty where there is none."""
    classes = class_rows(evaluation.total, evaluation.taxonomy)
    categories = category_rows(evaluation.total, evaluation.taxonomy)
    columns = list(next(iter(classes.values())))
    rows = [["kind", "name", *columns]]
    for kind, group in (("class", classes), ("category", categories)):
        for name, row in (group | {"mean": means(group)}).items():
            rows.append([kind, name, *(_cell(row.get(column, math.nan)) for column in columns)])
    return _csv(rows)


def per_image_csv(evaluation: Evaluation) -> str:
    """A row an image: labelled pixels, means over the classes present in it, and each class's IoU."""
    names = evaluation.taxonomy.classes
    heads = ("image", "prediction", "ground truth", "pixels", "mIoU", "mDice", "aAcc")
    rows: list[list[object]] = [[*heads, *(f"IoU {name}" for name in names)]]
    for pair, counts in zip(evaluation.pairs, evaluation.images, strict=True):
        own = restrict_counts(counts.confusion, evaluation.taxonomy.index_to_id)
        cells: list[object] = [pair.key, pair.pred, pair.truth, int(own.sum())]
        if own.any():
            scores = segmentation_scores(own)
            values = (mean_present(scores.iou), mean_present(scores.dice), scores.overall_acc, *scores.iou.tolist())
            cells += [_cell(value) for value in values]
        rows.append(cells)
    return _csv(rows)


def check_reports(**paths: str | Path | None) -> None:
    """Make sure that files can be written there, before hours are spent; None is left out.

    Raises:
        ValueError: if a path is that of a folder.
        OSError: if its folder cannot be written.
    """
    for name, path in paths.items():
        if path is None:
            continue
        if os.path.isdir(path):
            raise ValueError(expected(name, "a file", f"the folder '{path}'"))
        check_writable(name, str(Path(path).parent))


def write_reports(
    evaluation: Evaluation,
    csv: str | Path | None = None,
    json: str | Path | None = None,
    per_image: str | Path | None = None,
) -> list[Path]:
    """Write what is asked for.

    Returns:
        The files written.
    """
    texts = ((csv, as_csv), (json, json_text), (per_image, per_image_csv))
    written = []
    for path, text in texts:
        if path is not None:
            # A name that is no UTF-8 stays readable.
            write_whole(Path(path), text(evaluation).encode(errors="backslashreplace"))
            written.append(Path(path))
    return written


def json_text(evaluation: Evaluation) -> str:
    """:func:`as_json` as text; a NaN in it would be an error."""
    return json.dumps(as_json(evaluation), indent=1, allow_nan=False) + "\n"


def _has_pixels(counts: ImageCounts, taxonomy: Taxonomy) -> bool:
    return bool(counts.confusion[list(taxonomy.index_to_id)].any())


def _overall_acc(counts: ImageCounts, taxonomy: Taxonomy) -> float:
    return segmentation_scores(restrict_counts(counts.confusion, taxonomy.index_to_id)).overall_acc


def _scores(counts: ImageCounts, taxonomy: Taxonomy) -> dict[str, Any]:
    classes, categories = class_rows(counts, taxonomy), category_rows(counts, taxonomy)
    return dict(
        {f"m{name}": value for name, value in means(classes).items()},
        aAcc=_overall_acc(counts, taxonomy),
        averaged_classes=sum(not math.isnan(row["IoU"]) for row in classes.values()),
        category={f"m{name}": value for name, value in means(categories).items()},
        classes=classes,
        categories=categories,
    )


def _tables(counts: ImageCounts, taxonomy: Taxonomy) -> str:
    classes, categories = class_rows(counts, taxonomy), category_rows(counts, taxonomy)
    shown = sum(not math.isnan(row["IoU"]) for row in classes.values())
    lines = [_table("class", classes, f"mean of {shown} classes"), _table("category", categories, "mean")]
    lines.append(f"Pixel accuracy {100 * _overall_acc(counts, taxonomy):.2f} %.")
    if shown < len(classes):
        lines.append(f"{len(classes) - shown} absent classes (-) are left out of the means.")
    return "\n".join(lines)


def _table(head: str, rows: Mapping[str, Row], last: str) -> str:
    columns = [column for column, value in means(rows).items() if not math.isnan(value)]
    table = PrettyTable([head, *(f"{column} %" for column in columns)], align="r")
    table.align[head] = "l"
    for index, (name, row) in enumerate(rows.items()):
        table.add_row([name, *(_percent(row[column]) for column in columns)], divider=index == len(rows) - 1)
    table.add_row([last, *(_percent(means(rows)[column]) for column in columns)])
    return table.get_string()


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def without_nan(value: Any) -> Any:
    """Values for JSON: None for every float that is not finite, at any depth."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
