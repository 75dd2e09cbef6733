"""What a check of a data set found, as text and as a picture."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from prettytable import PrettyTable

from cityseg_ext.checks import shorten
from cityseg_ext.functional.dataset_statistics import SEVERITIES, DatasetStatistics, Problem
from cityseg_ext.whole_file import write_whole


def class_table(statistics: DatasetStatistics) -> str:
    """Pixels, their share and the images of each class in each split, and the class weights.

    Shares are of all pixels, void ones included, so that a column adds up to 100. Weights follow from the training
    labels.
    """
    weights = statistics.class_weights
    columns = [f"{split} {what}" for split in statistics.splits for what in ("pixels", "%", "images")]
    table = PrettyTable(["class", *columns, *weights], align="r")
    table.align["class"] = "l"
    totals = {name: max(1, int(split.counts.sum() + split.void.sum())) for name, split in statistics.splits.items()}
    for index, class_name in enumerate(statistics.classes):
        row = [class_name]
        for name, split in statistics.splits.items():
            row += _cells(split.pixels[index], totals[name], split.images_with_class[index])
        last = index == len(statistics.classes) - 1
        table.add_row([*row, *(f"{values[index]:.3f}" for values in weights.values())], divider=last)
    row = ["(void)"]
    for name, split in statistics.splits.items():
        row += _cells(split.void.sum(), totals[name], (split.void > 0).sum())
    table.add_row([*row, *("" for _ in weights)])
    return table.get_string()


def size_lines(statistics: DatasetStatistics) -> str:
    """How many photographs of which size each split has, a line a split."""
    lines = []
    for name, split in statistics.splits.items():
        sizes = Counter((int(width), int(height)) for height, width in split.sizes if height)
        listed = shorten([f"{number} of {width}x{height}" for (width, height), number in sizes.most_common()], 4)
        lines.append(f"{name}: {len(split.images)} photographs, {listed or 'none readable'}")
    return "\n".join(lines)


def problem_list(problems: tuple[Problem, ...], limit: int = 3) -> str:
    """Problems by severity, kind and split, the first few files of each; all of them are in the JSON."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.severity, problem.kind, problem.split), []).append(problem)
    lines = []
    for severity, kind, split in sorted(groups, key=lambda key: SEVERITIES.index(key[0])):
        group = groups[severity, kind, split]
        files = [problem for problem in group if problem.file is not None]
        lines.append(f"{severity}: {kind}, {split}" + (f", {len(files)} file{'s' * (len(files) > 1)}" if files else ""))
        # What concerns the split as a whole comes first, and is never cut.
        lines += [f"    {problem.message}" for problem in group if problem.file is None]
        lines += [f"    {problem.message}" for problem in files[:limit]]
        if len(files) > limit:
            lines.append(f"    ... and {len(files) - limit} more")
    # A name that is no UTF-8 can be written to no terminal.
    return "\n".join(lines).encode(errors="backslashreplace").decode()


def draw_histogram(statistics: DatasetStatistics, picture: str | Path) -> Path:
    """Draw the share of each class among the labelled pixels of each split, on a logarithmic scale.

    Args:
        statistics: what to draw.
        picture: the PNG file to write.

    Returns:
        The file written.
    """
    names, positions = statistics.classes, np.arange(len(statistics.classes))
    size = (1.6 + 4.2 * len(statistics.splits), 1.2 + 0.26 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(statistics.splits), sharex=True, sharey=True, squeeze=False)
    colors = np.array(statistics.palette) / 255
    shares = {name: 100 * split.pixels / max(1, int(split.counts.sum())) for name, split in statistics.splits.items()}
    occurring = np.concatenate([share[share > 0] for share in shares.values()])
    left = 10 ** np.floor(np.log10(occurring.min() / 2)) if len(occurring) else 1e-3
    for axis, (name, share) in zip(axes[0], shares.items(), strict=True):
        axis.barh(positions, np.where(share > 0, share, left), color=colors, edgecolor="0.3", linewidth=0.4)
        for position, value in zip(positions, share, strict=True):
            text = f" {value:.2g} %" if 0 < value < 10 else f" {value:.0f} %" if value else " absent"
            at = value if value else left
            axis.text(at, position, text, va="center", fontsize=7, color="0.2" if value else "0.55")
        axis.set(xscale="log", xlim=(left, 700), title=f"{name} ({len(statistics.splits[name].images)} images)")
        axis.set_xlabel("per cent of labelled pixels")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.margins(y=0.01)
        axis.set_yticks(positions, names, fontsize=8)
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].invert_yaxis()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    write_whole(Path(picture), data.getvalue())
    return Path(picture)


def _cells(pixels: int, total: int, images: int) -> list[str]:
    return [f"{pixels:,}", f"{100 * pixels / total:.3f}", str(images)]
