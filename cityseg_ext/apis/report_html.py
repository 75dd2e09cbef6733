"""One page that shows runs: scores, where they come from, curves, classes, and images."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cityseg_ext.apis.report_charts import charts, png
from cityseg_ext.apis.report_record import FOLDER, RECORD, ReportRecord, Row, read_record
from cityseg_ext.apis.run_log import RunLog, read_run, run_names
from cityseg_ext.checks import expected, file_problem
from cityseg_ext.functional.boundary_scores import BAND_WIDTH, TOLERANCE
from cityseg_ext.whole_file import check_writable, inside, write_whole

PAGE = "report.html"
NONE = "–"
_MOST_CHANGED = 5
_TITLES = dict(
    mDice="Mean Dice",
    mIoU="Mean IoU",
    aAcc="Pixel accuracy",
    mBoundaryIoU="Mean boundary IoU",
    mBoundaryF="Mean boundary F",
    mPrecision="Mean precision",
    mRecall="Mean recall",
    mDice_per_image="Mean Dice of single images",
    ECE="Calibration error (ECE)",
)
_TILES = ("mDice", "mIoU", "aAcc", "mBoundaryIoU", "ECE")


@dataclass(frozen=True)
class WrittenReport:
    """What was written.

    Attributes:
        page: the HTML file, which needs no other.
        pictures: PNG files of its charts and panels.
        notices: what is missing in it, in sentences.
    """

    page: Path
    pictures: list[Path]
    notices: list[str]


@dataclass(frozen=True)
class _Run:
    name: str
    folder: Path
    log: RunLog | None
    record: ReportRecord | None
    notices: list[str] = field(default_factory=list)

    @property
    def scores(self) -> dict[str, float | None]:
        """Of the test, else of the last validation."""
        if self.record is not None:
            return self.record.scores
        last = self.log.validation[-1] if self.log is not None and self.log.validation else {}
        return {name: value for name, value in last.items() if name in _TITLES or name.startswith("val/")}


def write_report(
    work_dirs: Sequence[str | Path], out: str | Path | None = None, names: Sequence[str] | None = None
) -> WrittenReport:
    """Write a page about one run, or about two side by side; and its pictures as PNG files.

    Shown is what there is: curves if a run has a log, and scores by class and by image if it was tested with
    ``tools/test.py --report``. The page loads nothing: pictures are in it, and there are no scripts.

    Args:
        work_dirs: one or two.
        out: the folder to write; by default ``report`` in the work dir, for two runs ``report_with_<second>`` in the
            first one. Files of the same names in it are replaced.
        names: what to call the runs; by default the shortest ends of their paths that differ.

    Raises:
        FileNotFoundError: if there is no such folder, or neither log nor record in it.
        ValueError: if there are more than two runs, or a record or a log is damaged.
        OSError: if the folder cannot be written.
    """
    if len(work_dirs) not in (1, 2):
        raise ValueError(expected("work_dir", "one or two", str(len(work_dirs))))
    if names is not None and len(names) != len(work_dirs):
        raise ValueError(expected("names", f"{len(work_dirs)}, one a run", f"{len(names)}: {list(names)}"))
    names = [name.encode(errors="backslashreplace").decode() for name in names or run_names(work_dirs)]
    runs = [_read(Path(folder), name) for folder, name in zip(work_dirs, names, strict=True)]
    if out is None:
        other = "".join("_with_" + re.sub(r"[^\w.-]+", "_", name) for name in names[1:])
        out = inside("work_dir", runs[0].folder, Path(f"{FOLDER}{other}", PAGE)).parent
    check_writable("out", str(out))
    drawn = charts(names, [run.log for run in runs], [run.record for run in runs])
    pictures = {f"{stem}.png": png(figure) for stem, (_, figure) in drawn.items()}
    extremes = [_extremes(run, f"run{place}_" if len(runs) > 1 else "") for place, run in enumerate(runs, 1)]
    panels = {panel["file"]: panel["data"] for groups in extremes for group in groups for panel in group["panels"]}
    for name, data in (pictures | panels).items():
        write_whole(Path(out, name), data)
    view = dict(
        runs=runs,
        title=" and ".join(names),
        notices=[notice for run in runs for notice in run.notices],
        tiles=[row for row in _score_rows(runs) if row["key"] in _TILES],
        scores=_score_rows(runs),
        charts={
            heading: [
                dict(title=title, source=_inline(pictures[f"{stem}.png"]), wide=stem.startswith("confusion"))
                for stem, (title, _) in drawn.items()
                if stem.startswith("curve_") == (heading == "Training")
            ]
            for heading in ("Training", "Test")
        },
        classes=_class_rows(runs),
        extremes=list(zip(runs, extremes, strict=True)),
        changed=_changed(runs),
        facts=_facts(runs),
        widths=dict(band=100 * BAND_WIDTH, tolerance=100 * TOLERANCE),
    )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= dict(percent=_percent, inline=_inline)
    text = environment.get_template("report.html.j2").render(view)
    page = Path(out, PAGE)
    write_whole(page, text.encode(errors="backslashreplace"))  # a name that is no UTF-8 stays readable
    return WrittenReport(page, [Path(out, name) for name in pictures | panels], view["notices"])


def _read(folder: Path, name: str) -> _Run:
    if not folder.is_dir():
        raise FileNotFoundError(expected("work_dir", "an existing folder", repr(str(folder))))
    path, notices = folder / FOLDER / RECORD, []
    record = read_record(path) if path.is_file() else None
    how = f"tools/test.py CONFIG CHECKPOINT --work-dir {shlex.quote(str(folder))} --report"
    log = None
    try:
        log = read_run(folder, name)
        notices += log.notices
    except (FileNotFoundError, ValueError) as error:
        if record is None:
            cure = f"Train with --work-dir, or test: {how}"
            rule = "a work dir with the log of a training run or the record of a test"
            raise type(error)(file_problem(folder, rule, f"neither ({error})", cure)) from error
        notices.append(f"{name}: no curves. {error}")
    if record is None:
        notices.append(f"{name} has no record of a test, so scores are those of the last validation. To add it: {how}")
    return _Run(name, folder, log, record, notices)


def _extremes(run: _Run, prefix: str) -> list[Row]:
    """The panels of the worst and the best images; a panel that is gone is told."""
    groups = []
    for title, rows in (("Worst images", run.record.worst), ("Best images", run.record.best)) if run.record else ():
        panels = []
        for row in rows:
            path = run.folder / FOLDER / row["panel"]
            if path.is_file() and not path.is_symlink():  # a record may come from somebody else
                panels.append(dict(row, file=f"{prefix}{row['panel']}", data=path.read_bytes()))
            else:
                run.notices.append(f"{run.name}: the picture of {row['name']} is gone: {path}")
        groups.append(dict(title=title, panels=panels))
    return groups


def _score_rows(runs: Sequence[_Run]) -> list[Row]:
    keys = list(dict.fromkeys([*_TITLES, *(name for run in runs for name in run.scores)]))
    rows = []
    for key in keys:
        values = [run.scores.get(key) for run in runs]
        if any(value is not None for value in values):
            form = _number if key.startswith("val/") else _percent
            rows.append(dict(key=key, title=_TITLES.get(key, key), **_compared(values, form)))
    return rows


def _compared(values: Sequence[float | None], form: Any) -> Row:
    """Values as text, and the difference where there are two."""
    both = len(values) == 2 and None not in values
    return dict(values=[form(value) for value in values], change=_signed(values[1] - values[0], form) if both else NONE)


def _class_rows(runs: Sequence[_Run]) -> list[Row]:
    """A row a class; all scores of one run, Dice and IoU of two."""
    if not all(run.record for run in runs):
        return []
    tables = [{row["name"]: row for row in run.record.classes} for run in runs]
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        found = [table.get(name, {}) for table in tables]
        color = next(row["color"] for row in found if row)
        kinds = ("Dice", "IoU") if len(runs) > 1 else ("Dice", "IoU", "Precision", "Recall", "BoundaryIoU", "BoundaryF")
        cells = [dict(kind=kind, **_compared([row.get(kind) for row in found], _percent)) for kind in kinds]
        pixels = next(row.get("pixels") for row in found if row)
        rows.append(
            dict(name=name, color="rgb({:d}, {:d}, {:d})".format(*color), cells=cells, pixels=f"{pixels or 0:,}")
        )
    return rows


def _changed(runs: Sequence[_Run]) -> list[Row]:
    """The images that two runs see most differently."""
    if len(runs) != 2 or not all(run.record for run in runs):
        return []
    first, second = ({row["name"]: row.get("mDice") for row in run.record.images} for run in runs)
    both = [name for name in first if None not in (first[name], second.get(name))]
    both.sort(key=lambda name: (second[name] - first[name], name))
    shown = dict.fromkeys([*both[:_MOST_CHANGED], *both[-_MOST_CHANGED:]])
    return [dict(name=name, **_compared([first[name], second[name]], _percent)) for name in shown]


def _facts(runs: Sequence[_Run]) -> list[Row]:
    """The provenance of all runs, a row a fact."""
    flat = [_flat(run.record.provenance) if run.record else {} for run in runs]
    keys = [key for key in dict.fromkeys(key for facts in flat for key in facts) if key not in ("config_text", "name")]
    return [dict(key=key, values=[facts.get(key, NONE) for facts in flat]) for key in keys]


def _flat(values: Row, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key} ")
        else:
            found[f"{prefix}{key}"] = NONE if value is None else str(value)
    return found


def _inline(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _percent(value: float | None) -> str:
    return NONE if value is None or value != value else f"{100 * value:.2f}"


def _number(value: float | None) -> str:
    return NONE if value is None or value != value else f"{value:.4g}"


def _signed(change: float, form: Any) -> str:
    return f"{'+' if change >= 0 else '−'}{form(abs(change))}" if change == change else NONE
