"""What a test run has measured, kept in a file so that reports can be made without the model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cityseg_ext.apis.evaluation_report import without_nan
from cityseg_ext.checks import file_problem
from cityseg_ext.functional.boundary_scores import BAND_WIDTH, TOLERANCE, boundary_scores
from cityseg_ext.functional.calibration import calibration_scores
from cityseg_ext.functional.confusion import mean_present, segmentation_scores
from cityseg_ext.functional.records import add_up
from cityseg_ext.hooks.report import WIDTHS, Extreme, ReportCounts, ReportHook
from cityseg_ext.whole_file import write_whole

RECORD = "record.json"
FOLDER = "report"
FORMAT, VERSION = "cityseg_ext.report_record", 1
_CURE = "Write it with tools/test.py CONFIG CHECKPOINT --report."

Row = dict[str, Any]


@dataclass(frozen=True)
class ReportRecord:
    """Plain values for JSON: scores are fractions of 1, not rounded, and None where there is none.

    Attributes:
        provenance: see :func:`~cityseg_ext.apis.provenance.provenance`.
        scores: name -> score of the whole test set.
        classes: a row a class: ``name``, ``color`` (RGB), ``pixels`` (in the truth) and its scores.
        confusion: pixels; row: true class, column: predicted class.
        boundary: a row a width: ``width`` (share of the image diagonal), mean ``BoundaryIoU`` and ``BoundaryF``.
        reliability: a row a bin of confidence: ``pixels``, ``accuracy`` and mean ``confidence``.
        images: a row an image: ``name``, ``mDice``, ``mIoU``, ``aAcc``, ``classes`` (labelled in it), ``pixels``.
        best: ``name``, ``mDice`` and ``panel`` (a file beside the record) of the best images, best first.
        worst: the same of the worst, worst first.
    """

    provenance: Row
    scores: dict[str, float | None]
    classes: list[Row]
    confusion: list[list[int]]
    boundary: list[Row]
    reliability: list[Row]
    images: list[Row]
    best: list[Row]
    worst: list[Row]


def make_record(
    hook: ReportHook, metrics: Mapping[str, float], metainfo: Mapping[str, Any], provenance: Row
) -> ReportRecord:
    """Turn the counts of a test run into a record.

    Args:
        hook: after the test.
        metrics: what the run's evaluators have found; scores that the counts do not give are taken over.
        metainfo: ``classes`` and ``palette`` of the data set.
        provenance: kept as it is.

    Raises:
        ValueError: if no image has a labelled pixel.
    """
    images = list(hook.images.values())
    confusion = np.sum([image.confusion for image in images], axis=0, dtype=np.int64)
    scores = segmentation_scores(confusion)
    borders = {w: boundary_scores(add_up([image.borders[i] for image in images])) for i, w in enumerate(WIDTHS)}
    counts = add_up([image.calibration for image in images])
    calibration = calibration_scores(counts)
    columns = dict(Dice=scores.dice, IoU=scores.iou, Precision=scores.precision, Recall=scores.acc)
    columns |= dict(BoundaryIoU=borders[BAND_WIDTH].iou, BoundaryF=borders[TOLERANCE].f)
    per_image = [image.mean_dice for image in images]
    means = {f"m{name}": mean_present(values) for name, values in columns.items()}
    means |= dict(aAcc=scores.overall_acc, mDice_per_image=mean_present(np.array(per_image)), ECE=calibration.ece)
    known = {*means, "mAcc"}  # which is the mean recall
    others = {name: value for name, value in metrics.items() if name not in known and not _is_of_class(name, metainfo)}
    plain = dict(
        provenance=provenance,
        scores=means | others,
        classes=[
            dict(name=str(name), color=[int(part) for part in color], pixels=int(confusion[index].sum()))
            | {column: float(values[index]) for column, values in columns.items()}
            for index, (name, color) in enumerate(zip(metainfo["classes"], metainfo["palette"], strict=True))
        ],
        confusion=confusion.tolist(),
        boundary=[
            dict(width=w, BoundaryIoU=mean_present(s.iou), BoundaryF=mean_present(s.f)) for w, s in borders.items()
        ],
        reliability=[
            dict(pixels=int(pixels), accuracy=float(accuracy), confidence=float(confidence))
            for pixels, accuracy, confidence in zip(
                counts.pixels, calibration.accuracy, calibration.confidence, strict=True
            )
        ],
        images=[_image_row(name, image) for name, image in hook.images.items()],
        best=_panel_rows("best", hook.best),
        worst=_panel_rows("worst", hook.worst),
    )
    return ReportRecord(**without_nan(plain))


def write_record(record: ReportRecord, panels: Mapping[str, np.ndarray], folder: str | Path) -> Path:
    """Write a record and its panels.

    Args:
        record: what was measured.
        panels: name of an image -> uint8 (H, W, 3), RGB.
        folder: made if need be; files of an earlier record in it are replaced.

    Returns:
        The record's file.
    """
    folder = Path(folder)
    for row in record.best + record.worst:
        write_whole(folder / row["panel"], cv2.imencode(".png", panels[row["name"]][..., ::-1])[1].tobytes())
    values = dict(format=FORMAT, version=VERSION) | asdict(record)
    # ASCII: names that are no UTF-8 come through.
    write_whole(folder / RECORD, (json.dumps(values, indent=1, allow_nan=False) + "\n").encode("ascii"))
    return folder / RECORD


def read_record(path: str | Path) -> ReportRecord:
    """Read a record.

    Args:
        path: ``record.json``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else, of another version, or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(file_problem(path, "a record of a test run", "no file", _CURE))
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(file_problem(path, "a record of a test run", f"no JSON ({error})", _CURE)) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(file_problem(path, "a record of a test run", "another kind of file", _CURE))
    if values.get("version") != VERSION:
        raise ValueError(file_problem(path, f"a record of version {VERSION}", f"{values.get('version')!r}", _CURE))
    problem = _problem(values)
    if problem:
        raise ValueError(file_problem(path, "a whole record of a test run", problem, _CURE))
    return ReportRecord(**{field.name: values[field.name] for field in fields(ReportRecord)})


_ROWS: dict[str, dict[str, Any]] = dict(
    classes=dict(name=str, color=list),
    boundary=dict(width=float),
    reliability=dict(pixels=int),
    images=dict(name=str),
    best=dict(name=str, panel=str),
    worst=dict(name=str, panel=str),
)


def _problem(values: Row) -> str | None:
    """What is wrong with the values of a file, or None."""
    for name in ("provenance", "scores"):
        if not isinstance(values.get(name), dict):
            return f"no `{name}`"
    if not all(value is None or _is_number(value) for value in values["scores"].values()):
        return "scores that are no numbers"
    for name, kinds in _ROWS.items():
        rows = values.get(name)
        if not isinstance(rows, list) or not all(_fits(row, kinds) for row in rows):
            return f"no rows in `{name}`"
    size, confusion = len(values["classes"]), values.get("confusion")
    whole = isinstance(confusion, list) and len(confusion) == size and size
    if not whole or not all(
        isinstance(row, list) and len(row) == size and all(map(_is_number, row)) for row in confusion
    ):
        return f"no `confusion` of the {size} classes"
    # A record may come from somebody else: a report of it shows no other files.
    outside = [row["panel"] for row in values["best"] + values["worst"] if Path(row["panel"]).name != row["panel"]]
    return f"a panel that is not beside it ({outside[0]!r})" if outside else None


def _fits(row: object, kinds: Mapping[str, type]) -> bool:
    """Whether a row has what it needs, and only numbers besides."""
    if not isinstance(row, dict) or not all(isinstance(row.get(name), kind) for name, kind in kinds.items()):
        return False
    color = row.get("color", [0, 0, 0])
    if not isinstance(color, list) or len(color) != 3 or not all(type(part) is int for part in color):
        return False
    texts = [name for name, kind in kinds.items() if kind in (str, list)]
    return all(value is None or _is_number(value) for name, value in row.items() if name not in texts)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_of_class(name: str, metainfo: Mapping[str, Any]) -> bool:
    return name.rpartition("/")[2] in metainfo["classes"]


def _image_row(name: str, image: ReportCounts) -> Row:
    row: Row = dict(name=name, mDice=image.mean_dice, mIoU=math.nan, aAcc=math.nan)
    if image.confusion.any():
        scores = segmentation_scores(image.confusion)
        row |= dict(mIoU=mean_present(scores.iou), aAcc=scores.overall_acc)
    labelled = np.count_nonzero(image.confusion.sum(axis=1))
    return row | dict(classes=int(labelled), pixels=int(image.confusion.sum()))


def _panel_rows(kind: str, images: list[Extreme]) -> list[Row]:
    rows = [dict(name=image.name, mDice=image.dice) for image in images]
    return [row | dict(panel=f"{kind}_{number}.png") for number, row in enumerate(rows, 1)]
