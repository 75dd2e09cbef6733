"""How time and memory of the loss grow with the batch, the classes and the resolution: a picture and its numbers.

python benchmarks/loss_growth.py --threads 1 --out docs/images/loss_growth.png

From logits of 1/8 of the labels' size, as a head with output stride 8 gives them, to the gradient of these. One of the
three is changed at a time; the other two are those of --size.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from _side_by_side import clock, peak_memory, synchronize
from focal_dice import batch, cross_entropy, fused, mmseg_loss, training
from matplotlib.figure import Figure
from upsample_loss import inside, resized

from cityseg_ext.apis.provenance import hardware, versions
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_29

K = CITYSCAPES_19.num_classes
SCALE = 8
GROWTH = {
    "images in the batch": (0, [1, 2, 4, 8]),
    "classes": (1, [2, 8, K, CITYSCAPES_29.num_classes, 2 * CITYSCAPES_29.num_classes]),
    "height and width": (2, [0.25, 0.5, 1, 2]),
}
"""What grows -> its place in the size, and values; those of the resolution are factors of both sides."""


def ways() -> dict:
    return {
        "interpolate + F.cross_entropy": resized(cross_entropy),
        "interpolate + mmseg Dice + Focal": resized(mmseg_loss()),
        "interpolate + ours": resized(fused),
        "ours, upsampling inside": inside,
    }


def size_of(base: list[int], place: int, value: float) -> list[int]:
    if place < 2:
        return [*base[:place], int(value), *base[place + 1 :]]
    return [*base[:2], *(max(SCALE, round(side * value / SCALE) * SCALE) for side in base[2:])]


def measure(size: list[int], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds (median) and MiB at the worst moment of each way, the ways taking turns."""
    logits, target = batch(size, scale=SCALE)
    work = {name: training(loss, logits, target) for name, loss in ways().items()}
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, way in work.items():
            synchronize()
            start = clock()
            way()
            synchronize()
            if number:
                times[name].append(clock() - start)
    return {
        name: dict(milliseconds=1000 * statistics.median(times[name]), mebibytes=peak_memory(way) / 2**20)
        for name, way in work.items()
    }


def draw(found: dict[str, list[dict]]) -> Figure:
    """Time above, memory below, a column for each thing that grows; logarithmic: equal slopes are equal growth."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, len(found), sharey="row")
    for column, (what, points) in zip(axes.T, found.items(), strict=True):
        labels = [point["label"] for point in points]
        places = [point["value"] for point in points]
        for axis, unit in zip(column, ("milliseconds", "mebibytes"), strict=True):
            for name in ways():
                axis.plot(places, [point["ways"][name][unit] for point in points], marker="o", label=name)
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xticks(places, labels)
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
        column[1].set_xlabel(what)
    axes[0, 0].set_ylabel("wall time, ms" if torch.cuda.is_available() else "processor's time, ms")
    axes[1, 0].set_ylabel("extra memory, MiB")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--size", nargs=4, type=int, default=[2, K, 256, 512], metavar=("N", "C", "H", "W"), help="what grows from here"
    )
    add("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    add("--rounds", type=int, default=3, help="default: %(default)s")
    add("--out", type=Path, default=Path("loss_growth.png"), help="the picture (default: %(default)s)")
    add("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, list[dict]] = {}
    for what, (place, values) in GROWTH.items():
        found[what] = []
        for value in values:
            size = size_of(args.size, place, value)
            label = str(value) if place < 2 else f"{size[2]}x{size[3]}"
            found[what].append(dict(value=value, label=label, size=size, ways=measure(size, args.rounds)))
            print(what, label, {name: round(way["milliseconds"], 1) for name, way in found[what][-1]["ways"].items()})
    draw(found).savefig(args.out, dpi=110)
    if args.json is not None:
        facts = dict(found=found, threads=args.threads, hardware=hardware(), versions=versions())
        args.json.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"Wrote {args.out}")


if __name__ == "__main__":
    main()
