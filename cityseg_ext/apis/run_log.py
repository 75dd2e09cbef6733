"""What a training run has logged, read back from its files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cityseg_ext.checks import expected, file_problem

Row = dict[str, float]

_SCALARS = Path("vis_data", "scalars.json")
_TIMESTAMP = re.compile(r"\d{8}_\d{6}")
_SCORE = re.compile(r"[am](Acc|IoU|Dice|Fscore|Precision|Recall)|(Dice|IoU)/.+")


@dataclass(frozen=True)
class RunLog:
    """The values of one run over its steps.

    Attributes:
        name: what the run is called.
        training: one row a logged training step, with ``step`` and, in runs by epoch, ``epoch`` as a fraction.
        validation: one row a validation, likewise; scores are fractions of 1, also where they were logged in per cent.
        notices: what the reader should know about damaged or empty files.
    """

    name: str
    training: list[Row]
    validation: list[Row]
    notices: list[str]

    @property
    def counts_epochs(self) -> bool:
        """Whether every row has an epoch."""
        return all("epoch" in row for row in self.training + self.validation)


def read_run(path: Path | str, name: str | None = None) -> RunLog:
    """Read the log of a run, of this project or of any other that uses mmengine.

    Of a work dir the newest run is read. If that one was resumed, those that it goes on from are put before it.

    Args:
        path: work dir, a run's folder inside it, or a log file with one JSON object a line: ``scalars.json`` or
            mmengine's ``<timestamp>.json``.
        name: what to call the run; by default as in :func:`run_names`.

    Returns:
        Its values.

    Raises:
        FileNotFoundError: if there is no such path, or no log in it.
        ValueError: if a file is no such log, or has no values.
    """
    notices: list[str] = []
    rows: list[Row] = []
    for file in reversed(_log_files(Path(path))):
        part = _read_rows(file, notices)
        if not part:
            notices.append(f"{file} has no values and is left out.")
            continue
        first = rows[0] if rows else None
        rows = [row for row in part if first is None or _is_before(row, first)] + rows
        if not _was_resumed(part):
            break
    if not rows:
        raise ValueError(file_problem(path, "a log with one JSON object a line", "no values"))
    _scores_as_fractions(rows)
    _set_epochs(rows)
    return RunLog(
        name=name or run_names([path])[0],
        training=[row for row in rows if "iter" in row],
        validation=[row for row in rows if "iter" not in row],
        notices=notices,
    )


def run_names(paths: Sequence[Path | str]) -> list[str]:
    """Short names that tell runs apart: the end of each path, as much of it as is needed.

    Raises:
        ValueError: if one path is given twice.

    Example:
        >>> run_names(["/a/work_dirs/unet", "/a/work_dirs/deeplabv3/20260102_030405/vis_data/scalars.json"])
        ['unet', 'deeplabv3/20260102_030405']
        >>> run_names(["/a/unet", "/b/unet"])
        ['a/unet', 'b/unet']
    """
    ends = [_telling_parts(Path(path).resolve()) for path in paths]
    if len(set(map(tuple, ends))) < len(ends):
        raise ValueError(expected("runs", "different ones", [str(path) for path in paths], "Give each run once."))
    length = 1
    while True:
        names = []
        for parts in ends:
            timestamps = 1 if _TIMESTAMP.fullmatch(parts[-1]) else 0
            names.append("/".join(parts[-length - timestamps :]))
        if len(set(names)) == len(names):
            return names
        length += 1


def _telling_parts(path: Path) -> list[str]:
    parts = list(path.parts[1:]) or [path.anchor]
    while len(parts) > 1 and parts[-1] in (_SCALARS.name, _SCALARS.parent.name):
        parts.pop()
    return parts


def _log_files(path: Path) -> list[Path]:
    """The log files of a run, oldest first."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(expected("run", "an existing work dir or log file", repr(str(path))))
    for file in (path / _SCALARS, path / _SCALARS.name):
        if file.is_file():
            return [file]
    files = sorted(path.glob(f"*/{_SCALARS}"))  # folders are named by the time
    if not files:
        raise FileNotFoundError(
            file_problem(path, f"a work dir with logs, <time>/{_SCALARS}", "none", "Has the run logged a step yet?")
        )
    return files


def _read_rows(file: Path, notices: list[str]) -> list[Row]:
    """All rows, with ``step`` on one axis for training and validation."""
    rows, step = [], 0.0
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(file_problem(file, "a log with one JSON object a line", "bytes that are no text")) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("no object")
        except ValueError as error:
            if number == len(lines) and number > 1:
                notices.append(f"{file}: the last line is cut off, as in runs that were killed, and is left out.")
                break
            raise ValueError(
                file_problem(file, "a log with one JSON object a line", f"something else in line {number}")
            ) from error
        row = {key: float(value) for key, value in values.items() if isinstance(value, (int, float))}
        # A validation that mmengine has numbered by epoch stands at the last training step before it.
        step = row["iter"] if "iter" in row else max(step, row.get("step", 0.0))
        if row:
            rows.append(row | {"step": step})
    return rows


def _was_resumed(rows: list[Row]) -> bool:
    """Whether the first training row comes later than a run's first row does."""
    training = [row for row in rows if "iter" in row]
    if not training:
        return False
    steps = [row["iter"] for row in training]
    first_is_late = len(steps) > 1 and steps[0] > max(np.diff(steps))
    return bool(first_is_late or training[0].get("epoch", 1) > 1)


def _is_before(row: Row, first: Row) -> bool:
    """Whether a row is older than the first one of a resumed run, which starts at the beginning of an epoch."""
    if "epoch" in row and "epoch" in first:
        return row["epoch"] < first["epoch"]
    return row["step"] < first["step"]


def _scores_as_fractions(rows: list[Row]) -> None:
    names = {name for row in rows for name in row if _SCORE.fullmatch(name)}
    if any(row.get(name, 0) > 1 for row in rows for name in names):  # mmseg's own metrics are in per cent
        for row in rows:
            row.update({name: row[name] / 100 for name in names & row.keys()})
    for row in rows:  # mmseg's accuracy in training always is
        row.update({name: value / 100 for name, value in row.items() if name.endswith("acc_seg")})


def _set_epochs(rows: list[Row]) -> None:
    """Epochs as fractions, from the whole ones that training rows have."""
    counted = [row for row in rows if row.get("epoch", 0) > 0 and "iter" in row]
    if not counted or len(counted) < sum("iter" in row for row in rows):
        return
    # Step i in epoch e says that an epoch has i / e steps at least; the last of an epoch need not be logged.
    length = max(row["iter"] / row["epoch"] for row in counted)
    if math.isfinite(length) and length > 0:
        length = math.ceil(length)
        for row in rows:
            row["epoch"] = row["step"] / length
