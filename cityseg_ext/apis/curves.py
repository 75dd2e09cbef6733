"""Training curves of one or several runs in one picture."""

from __future__ import annotations

import fnmatch
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cityseg_ext.apis.run_log import Row, RunLog, read_run, run_names
from cityseg_ext.checks import check_choice, expected, file_problem
from cityseg_ext.whole_file import write_whole

AXES = ("auto", "epoch", "step")
_SMOOTHED = 50  # a running mean over one part in so many of the run
_COLUMNS = 3
_LIGHT = dict(linewidth=0.9, alpha=0.55)
_STRONG = dict(linewidth=1.8)


@dataclass(frozen=True)
class _Panel:
    """One plot: patterns of names whose values are added up, for training and for validation."""

    title: str
    training: str | None = None
    validation: str | None = None
    is_score: bool = False


_PANELS = (
    _Panel("Loss of the decode head", "decode*.loss_*", "val/loss"),
    _Panel("Mean Dice", validation="mDice", is_score=True),
    _Panel("Mean IoU", validation="mIoU", is_score=True),
    _Panel("Pixel accuracy", "decode.acc_seg", "aAcc", is_score=True),
    _Panel("Learning rate", "lr"),
)


@dataclass(frozen=True)
class PlottedCurves:
    """A picture of curves.

    Attributes:
        picture: the file written.
        notices: what was left out of it, in sentences.
    """

    picture: Path
    notices: list[str]


def plot_curves(
    runs: Sequence[Path | str], picture: Path | str, names: Sequence[str] | None = None, by: str = "auto"
) -> PlottedCurves:
    """Draw losses, scores and learning rate over training, one colour a run, and the Dice of each class at the end.

    Training is thin and, where there are many values, smoothed as the legend says; validation is strong.
    mmengine has logged training losses as means of the last ten steps already. Values that are not finite leave gaps.
    Plots for which no run has values are left out.

    Args:
        runs: work dirs or log files, as :func:`~cityseg_ext.apis.run_log.read_run` takes them.
        picture: the file to write, and to replace if it is there; its ending says the format.
        names: what to call the runs; by default the shortest ends of their paths that differ.
        by: ``'epoch'``, which suits runs of different batch sizes best, ``'step'``, or ``'auto'``: by epoch where all
            runs have epochs.

    Returns:
        The file written, and what was left out.

    Raises:
        FileNotFoundError: if a run is not there.
        ValueError: if a log cannot be read, nothing in it can be drawn, or an argument does not fit.
        OSError: if the picture cannot be written.
    """
    check_choice("by", by, AXES)
    figure = Figure(layout="constrained")
    file_format = Path(picture).suffix.removeprefix(".").lower()
    check_choice("the ending of the picture", file_format, sorted(figure.canvas.get_supported_filetypes()))
    if names is not None and len(names) != len(runs):
        raise ValueError(expected("names", f"{len(runs)}, one a run", f"{len(names)}: {list(names)}"))
    logs = [read_run(run, name) for run, name in zip(runs, names or run_names(runs), strict=True)]
    _draw(figure, logs, _axis(logs, by))
    data = io.BytesIO()
    figure.savefig(data, format=file_format, dpi=120)
    try:
        write_whole(Path(picture), data.getvalue())
    except OSError as error:
        raise OSError(file_problem(picture, "a file that can be written", str(error.strerror))) from error
    return PlottedCurves(Path(picture), [notice for log in logs for notice in log.notices])


def curve_figures(logs: Sequence[RunLog | None], names: Sequence[str]) -> dict[str, Figure]:
    """The plots of :func:`plot_curves` as figures of their own, by title; those without values are left out.

    Args:
        logs: runs, as :func:`~cityseg_ext.apis.run_log.read_run` gives them; None for one that has none, so that
            colours mean the same runs as elsewhere.
        names: what to call them.
    """
    colored = [(log, colormaps["tab10"](index % 10)) for index, log in enumerate(logs) if log is not None]
    by = _axis([log for log, _ in colored], "auto")
    figures = {}
    for panel in _PANELS:
        if not any(_has_values(log, panel) for log, _ in colored):
            continue
        figures[panel.title] = figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axis = figure.add_subplot()
        smoothed = [_draw_run(axis, log, panel, by, color) for log, color in colored]
        _dress(axis, panel, by, any(smoothed))
        if len(names) > 1:
            name_runs(figure, names)
    return figures


def name_runs(figure: Figure, names: Sequence[str]) -> None:
    """A legend of runs, in the order of their colours, above the plots."""
    handles = [Line2D([], [], color=colormaps["tab10"](index % 10), **_STRONG) for index in range(len(names))]
    labels = [plain_text(name) for name in names]
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(names), 4), frameon=False)


def _axis(logs: Sequence[RunLog], by: str) -> str:
    without = [log.name for log in logs if not log.counts_epochs]
    if by == "epoch" and without:
        raise ValueError(expected("by", "'step' for runs that count no epochs", f"'epoch' and {without}"))
    return "step" if without or by == "step" else "epoch"


def _draw(figure: Figure, logs: Sequence[RunLog], by: str) -> None:
    panels = [panel for panel in _PANELS if any(_has_values(log, panel) for log in logs)]
    classes = list(dict.fromkeys(name for log in logs for name in class_dice(log)))
    count = len(panels) + bool(classes)
    if not count:
        raise ValueError(expected("runs", "logs with losses, scores or learning rates", [log.name for log in logs]))
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    figure.set_size_inches(4.8 * columns, 3.6 * rows + 0.4)
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
    colors = [colormaps["tab10"](index % 10) for index in range(len(logs))]
    for axis, panel in zip(axes, panels, strict=False):
        smoothed = [_draw_run(axis, log, panel, by, color) for log, color in zip(logs, colors, strict=True)]
        _dress(axis, panel, by, any(smoothed))
    if classes:
        _draw_classes(axes[-1], logs, classes, colors)
    name_runs(figure, [log.name for log in logs])


def _has_values(log: RunLog, panel: _Panel) -> bool:
    sides = ((log.training, panel.training), (log.validation, panel.validation))
    return any(pattern and _series(rows, pattern, "step")[1].size for rows, pattern in sides)


def _draw_run(axis: Axes, log: RunLog, panel: _Panel, by: str, color: tuple) -> bool:
    """Draw one run's lines; return whether one was smoothed."""
    window = 1
    if panel.training:
        x, y = _series(log.training, panel.training, by)
        # The rate has no noise, and is as good as alone in its plot.
        style = _LIGHT if panel.validation else _STRONG
        window = max(1, len(y) // _SMOOTHED) if panel.validation else 1
        axis.plot(x, running_mean(y, window), color=color, marker="." if len(y) < 3 else "", **style)
    if panel.validation:
        x, y = _series(log.validation, panel.validation, by)
        axis.plot(x, y, color=color, marker="o" if len(y) < 30 else "", markersize=3.5, **_STRONG)
    return window > 1


def _dress(axis: Axes, panel: _Panel, by: str, smoothed: bool) -> None:
    axis.set(title=panel.title + ("" if panel.training else ", validation"), xlabel=by)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    if panel.is_score:
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, 0), min(high, 1.005))
    if panel.training and panel.validation:
        how = f", running mean over {100 // _SMOOTHED} % of the run" if smoothed else ""
        handles = [Line2D([], [], color="0.3", **style) for style in (_LIGHT, _STRONG)]
        axis.legend(handles, [f"training{how}", "validation"], frameon=False, fontsize=8)


def _draw_classes(axis: Axes, logs: Sequence[RunLog], classes: Sequence[str], colors: Sequence[tuple]) -> None:
    """Bars for one run, dots for several: bars of many runs are too thin to compare."""
    places = np.arange(len(classes))
    for log, color in zip(logs, colors, strict=True):
        dice = class_dice(log)
        values = [dice.get(name, np.nan) for name in classes]
        if len(logs) == 1:
            axis.barh(places, values, color=color, height=0.7)
        else:
            axis.plot(values, places, "o", color=color, markersize=4.5, alpha=0.8)
    axis.set_yticks(places, [plain_text(name) for name in classes], fontsize=max(4, min(8, 150 // len(classes))))
    axis.set(title="Dice of each class, last validation", xlim=(-0.02, 1.02), ylim=(len(classes) - 0.4, -0.6))
    axis.grid(axis="x" if len(logs) == 1 else "both", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def class_dice(log: RunLog) -> dict[str, float]:
    """Class -> Dice in the last validation that has any; empty if none has."""
    for row in reversed(log.validation):
        values = {name.removeprefix("Dice/"): value for name, value in row.items() if name.startswith("Dice/")}
        if values:
            return values
    return {}


def _series(rows: Sequence[Row], pattern: str, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and values; rows in which several names fit give their sum, infinite values become NaN."""
    points = []
    for row in rows:
        values = [row[name] for name in fnmatch.filter(row, pattern)]
        if values:
            points.append((row[by], sum(values)))
    x, y = np.array(points, float).reshape(-1, 2).T
    return x, np.where(np.isfinite(y), y, np.nan)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of the values around each value; values that are NaN stay so and count nowhere.

    Args:
        values: float (N,).
        window: how many values, centred; fewer at the ends.

    Returns:
        float (N,).

    Example:
        >>> running_mean(np.array([1.0, 4.0, np.nan, 2.0, 6.0]), 3).tolist()
        [2.5, 2.5, nan, 4.0, 4.0]
    """
    there = np.isfinite(values)
    before, after = window // 2, (window - 1) // 2 + 1
    sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(there, values, 0.0), there))
    places = np.arange(len(values))
    low, high = np.maximum(places - before, 0), np.minimum(places + after, len(values))
    with np.errstate(invalid="ignore"):
        means = (sums[high] - sums[low]) / (counts[high] - counts[low])
    return np.where(there, means, np.nan)


def plain_text(text: str) -> str:
    """A name as it is: matplotlib would set formulas between dollars, and hide labels that begin with "_"."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
