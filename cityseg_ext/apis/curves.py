"""Training curves as a picture."""

from __future__ import annotations

import fnmatch
import json
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from cityseg_ext.checks import file_problem

Series = dict[str, list[tuple[float, float]]]

# Title, and series with their names in the legend; a name that ends in * stands for all that begin so.
_PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    ("Loss of the decode head", {"decode.loss_*": "training", "val/loss": "validation"}),
    ("Scores on the validation set", {"mDice": "mDice", "mIoU": "mIoU", "aAcc": "pixel accuracy"}),
    ("Learning rate", {"lr": "learning rate"}),
)


def plot_curves(scalars: Path | str, picture: Path | str) -> Path:
    """Draw loss, scores and learning rate over training steps.

    Args:
        scalars: ``vis_data/scalars.json`` of a run, one JSON object a line.
        picture: the file to write; its ending says the format.

    Returns:
        The file written.

    Raises:
        ValueError: if the file has no logged values.
    """
    series = read_scalars(scalars)
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(4.2 * len(_PANELS), 3.2), layout="constrained")
    for axis, (title, names) in zip(axes, _PANELS, strict=True):
        for pattern, legend in names.items():
            for name in fnmatch.filter(series, pattern):
                marker = "o" if len(series[name]) < 30 else ""
                axis.plot(*zip(*series[name], strict=True), label=legend, marker=marker, markersize=3)
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.lines:
            axis.legend(frameon=False)
    axes[1].set_ylim(0, 1)
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)
    plt.close(figure)
    return Path(picture)


def read_scalars(path: Path | str) -> Series:
    """Logged values by name, as (step, value) pairs over one common axis of training steps.

    mmengine numbers training lines by iteration and validation lines by epoch; a validation line here stands at the
    last training step before it.
    """
    series: Series = defaultdict(list)
    step = 0.0
    for line in Path(path).read_text().splitlines():
        values = json.loads(line)
        step = float(values.get("iter", step))
        for name, value in values.items():
            if isinstance(value, (int, float)):
                series[name].append((step, value))
    if not series:
        raise ValueError(file_problem(path, "a log with one JSON object a line", "no values"))
    return dict(series)
