"""A benchmark of training steps as tables, as JSON and as a picture."""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.config import Config
from rich.table import Table

from cityseg_ext.apis.provenance import hardware, versions
from cityseg_ext.apis.step_times import COLLATE, ENOUGH, PARTS, StepBenchmark
from cityseg_ext.whole_file import write_whole

JSON, PICTURE = "step.json", "step.png"
_WRITTEN = 0.06  # share of a bar from which on its name stands in it


def as_dict(found: StepBenchmark, cfg: Config) -> dict[str, Any]:
    """A benchmark as plain values for JSON; times in milliseconds.

    Args:
        found: what was measured.
        cfg: the config that it was measured with.
    """
    first = found.runs[0]
    return dict(
        config=cfg.filename and Path(cfg.filename).name,
        image_size=cfg.get("image_size"),
        batch_size=first.batch_size,
        steps=len(first.steps),
        hardware=hardware(),
        versions=versions(),
        loading_per_image=_rows(_loading(found)),
        step=_rows({name: first.part(name) for name in PARTS}),
        workers=[
            dict(
                workers=run.workers,
                images_per_second=run.images_per_second,
                wait_share=run.wait_share,
                compute_ms=1000 * run.compute,
            )
            for run in found.runs
        ],
        load_ms_per_batch=1000 * found.load_seconds,
        workers_predicted=found.workers_predicted,
        workers_measured=found.workers_measured,
        peak_memory_bytes=found.peak_memory,
        peak_memory_of=found.memory_kind,
    )


def as_tables(values: dict[str, Any]) -> list[Table]:
    """The tables of what :func:`as_dict` gives: loading an image, a step, and numbers of workers."""
    size = "x".join(map(str, values["image_size"] or ())) or "mixed sizes"
    first = values["workers"][0]
    step = f"A step of {values['batch_size']} images, {size}, {first['workers']} workers"
    return [
        _parts_table("Loading an image in one process", values["loading_per_image"]),
        _parts_table(step, values["step"]),
        _workers_table(values["workers"]),
    ]


def conclusion(values: dict[str, Any]) -> str:
    """What the numbers say, in a few lines."""
    measured, predicted, tried = values["workers_measured"], values["workers_predicted"], len(values["workers"])
    enough = f"{measured} are enough" if measured is not None else f"none of the {tried} numbers tried is enough"
    lines = [
        f"Loader workers: {enough} (a step waits at most {ENOUGH:.0%} of its time); by loading time over computing "
        f"time it would be {predicted}."
    ]
    if values["peak_memory_bytes"] is not None:
        lines.append(f"Peak memory: {values['peak_memory_bytes'] / 2**20:.0f} MiB ({values['peak_memory_of']}).")
    return "\n".join(lines)


def write_step_report(values: dict[str, Any], folder: str | Path) -> tuple[Path, Path]:
    """Write the values as JSON, and a picture of where the time goes.

    Args:
        values: of :func:`as_dict`.
        folder: made if need be; earlier files of these names are replaced.

    Returns:
        The JSON file and the picture.
    """
    data, picture = Path(folder, JSON), Path(folder, PICTURE)
    write_whole(data, (json.dumps(values, indent=1) + "\n").encode())
    image = io.BytesIO()
    draw(values).savefig(image, format="png", dpi=120)
    write_whole(picture, image.getvalue())
    return data, picture


def draw(values: dict[str, Any]) -> Figure:
    """Two bars: what loading an image is made of, and what a step is made of."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loading, step = figure.subplots(2)
    _bar(loading, values["loading_per_image"], "Loading an image, one process")
    workers = values["workers"][0]["workers"]
    _bar(step, values["step"], f"A step of {values['batch_size']} images, {workers} workers")
    step.set_xlabel("milliseconds")
    return figure


def _loading(found: StepBenchmark) -> dict[str, list[float]]:
    return found.loading | {COLLATE: [seconds / found.runs[0].batch_size for seconds in found.collate]}


def _rows(parts: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Median, quartiles and mean of each part, and its share of the sum of means."""
    total = sum(map(statistics.mean, parts.values()))
    rows = []
    for name, seconds in parts.items():
        times = [1000 * value for value in seconds]
        low, median, high = statistics.quantiles(times * 2, n=4, method="inclusive")  # of one value too
        mean = statistics.mean(times)
        share = mean / (1000 * total)
        rows.append(dict(part=name, median_ms=median, quartiles_ms=[low, high], mean_ms=mean, share=share))
    return rows


def _parts_table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    for heading in ("median ms", "quartiles", "share"):
        table.add_column(heading, justify="right")
    for row in rows:
        low, high = row["quartiles_ms"]
        table.add_row(row["part"], f"{row['median_ms']:.2f}", f"{low:.2f} to {high:.2f}", f"{row['share']:.1%}")
    table.add_section()
    table.add_row("sum of means", f"{sum(row['mean_ms'] for row in rows):.2f}", "", "")
    return table


def _workers_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="Loader workers", title_justify="left")
    for heading in ("workers", "images/s", "waiting for data", "computing ms"):
        table.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: row["workers"]):
        wait, compute = f"{row['wait_share']:.1%}", f"{row['compute_ms']:.1f}"
        table.add_row(str(row["workers"]), f"{row['images_per_second']:.2f}", wait, compute)
    return table


def _bar(axis: Axes, rows: Sequence[dict[str, Any]], title: str) -> None:
    """One stacked bar; parts too small for their names are told in the legend only."""
    left, total = 0.0, sum(row["mean_ms"] for row in rows)
    for number, row in enumerate(rows):
        width = row["mean_ms"]
        label = f"{row['part']} {width:.1f}"
        axis.barh(0, width, left=left, color=colormaps["tab10"](number % 10), edgecolor="white", label=label)
        if width >= _WRITTEN * total:
            axis.text(left + width / 2, 0, f"{row['share']:.0%}", ha="center", va="center", color="white")
        left += width
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xlim(0, total)
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7, frameon=False)
