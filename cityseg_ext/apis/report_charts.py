"""The charts of a report, each a figure of its own that is readable on a phone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cityseg_ext.apis.curves import class_dice, curve_figures, name_runs, plain_text
from cityseg_ext.apis.report_record import ReportRecord, Row
from cityseg_ext.apis.run_log import RunLog

_SIZE = (5.2, 3.6)
_DPI = 120
_ROW_HEIGHT = 0.27  # inches of a class
_LONGEST = 28  # characters of a name that fit into a legend
_WRITTEN = 0.01  # shares of the confusion matrix from which on there is a number


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the page itself shows every name
        figure.savefig(data, format="png", dpi=_DPI)
    return data.getvalue()


def charts(
    names: Sequence[str], logs: Sequence[RunLog | None], records: Sequence[ReportRecord | None]
) -> dict[str, tuple[str, Figure]]:
    """All charts that logs and records of runs give.

    Args:
        names: of the runs, one or more.
        logs: of each run, or None.
        records: of each run, or None.

    Returns:
        File stem -> title and figure.
    """
    names = [name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}" for name in names]
    found: dict[str, tuple[str, Figure]] = {}
    for title, figure in curve_figures(logs, names).items():
        found[f"curve_{title.lower().replace(' ', '_')}"] = title, figure
    dice = [_class_scores(log, record) for log, record in zip(logs, records, strict=True)]
    if any(dice):
        found["classes"] = "Dice of each class", _class_bars(names, dice)
    for place, (name, record) in enumerate(zip(names, records, strict=True), 1):
        if record is not None:
            stem, title = (
                (f"confusion_{place}", f"Confusions, {name}") if len(names) > 1 else ("confusion", "Confusions")
            )
            found[stem] = title, _confusion(record, title)
    if any(records):
        found["boundary"] = "Borders", _boundary(names, records)
        found["reliability"] = "Reliability", _reliability(names, records)
    return found


def _color(index: int) -> tuple:
    return colormaps["tab10"](index % 10)


def _figure(width: float = _SIZE[0], height: float = _SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.add_subplot()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    return figure, axis


def _values(rows: Sequence[Row], name: str) -> np.ndarray:
    """A column of rows, NaN where there is no value."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)


def _class_scores(log: RunLog | None, record: ReportRecord | None) -> dict[str, float]:
    if record is not None:
        return {row["name"]: value for row, value in zip(record.classes, _values(record.classes, "Dice"), strict=True)}
    return class_dice(log) if log is not None else {}


def _class_bars(names: Sequence[str], dice: Sequence[dict[str, float]]) -> Figure:
    classes = list(dict.fromkeys(name for scores in dice for name in scores))
    figure, axis = _figure(height=max(2.4, _ROW_HEIGHT * len(classes) + 0.9))
    places, thickness = np.arange(len(classes)), 0.8 / len(names)
    for index, scores in enumerate(dice):
        values = np.array([scores.get(name, np.nan) for name in classes])
        shifted = places + (index - (len(names) - 1) / 2) * thickness
        axis.barh(shifted, np.nan_to_num(values), color=_color(index), height=0.9 * thickness)
        for place, value in zip(shifted, values, strict=True):
            text = "–" if np.isnan(value) else f"{100 * value:.1f}"
            axis.text(np.nan_to_num(value) + 0.01, place, text, va="center", fontsize=7 if len(names) == 1 else 5.5)
    axis.set_yticks(places, [plain_text(name) for name in classes], fontsize=8)
    axis.set(title="Dice of each class, %", xlim=(0, 1.1), ylim=(len(classes) - 0.4, -0.6))
    axis.set_xticks(np.linspace(0, 1, 6), [f"{value:.0f}" for value in np.linspace(0, 100, 6)])
    axis.grid(axis="y", visible=False)
    _name(figure, names)
    return figure


def _confusion(record: ReportRecord, title: str) -> Figure:
    """Shares of each true class; classes in neither truth nor prediction are left out."""
    counts = np.array(record.confusion, float)
    kept = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    counts, classes = counts[np.ix_(kept, kept)], [plain_text(record.classes[index]["name"]) for index in kept]
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    side = max(3.2, 0.32 * len(classes))
    figure, axis = _figure(side + 1.4, side + 1.2)
    axis.grid(visible=False)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if share >= _WRITTEN:
            ink = "white" if share > 0.5 else "black"
            axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=ink)
    axis.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
    axis.set_yticks(range(len(classes)), classes, fontsize=8)
    axis.set(title=plain_text(title), xlabel="predicted class", ylabel="true class, 100 % a row")
    return figure


def _boundary(names: Sequence[str], records: Sequence[ReportRecord | None]) -> Figure:
    figure, axis = _figure()
    for index, record in enumerate(records):
        if record is not None:
            widths = 100 * _values(record.boundary, "width")
            for column, style in (("BoundaryIoU", "o-"), ("BoundaryF", "s--")):
                axis.plot(widths, _values(record.boundary, column), style, color=_color(index), markersize=4)
    axis.set(title="Scores near borders", xlabel="width or tolerance, % of the image diagonal", ylim=(0, 1.02))
    axis.set_xscale("log", base=2)
    ticks = sorted({100 * row["width"] for record in records if record is not None for row in record.boundary})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    handles = [axis.plot([], [], style, color="0.4", markersize=4)[0] for style in ("o-", "s--")]
    axis.legend(handles, ["boundary IoU", "boundary F"], frameon=False, fontsize=8)
    _name(figure, names)
    return figure


def _reliability(names: Sequence[str], records: Sequence[ReportRecord | None]) -> Figure:
    figure, axis = _figure(height=3.9)
    (ideal,) = axis.plot([0, 1], [0, 1], "--", color="0.6", linewidth=1)
    shares = axis.bar([0], [0], color="0.4", alpha=0.25)  # for the legend
    for index, record in enumerate(records):
        if record is None:
            continue
        bins, pixels = len(record.reliability), _values(record.reliability, "pixels")
        confidence, accuracy = _values(record.reliability, "confidence"), _values(record.reliability, "accuracy")
        middle = (np.arange(bins) + 0.5) / bins
        axis.bar(middle, pixels / max(1, pixels.sum()), width=0.9 / bins, color=_color(index), alpha=0.25)
        seen = np.isfinite(confidence)
        axis.plot(confidence[seen], accuracy[seen], "o-", color=_color(index), markersize=4)
    axis.set(title="Is it right as often as it says?", xlabel="confidence", ylabel="share of right pixels")
    axis.set(xlim=(0, 1.01), ylim=(0, 1.01))
    axis.legend([ideal, shares], ["as often as it says", "share of pixels"], frameon=False, fontsize=8)
    _name(figure, names)
    return figure


def _name(figure: Figure, names: Sequence[str]) -> None:
    if len(names) > 1:
        name_runs(figure, names)
