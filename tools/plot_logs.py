"""Draw the training curves of one or several runs into one picture: losses, Dice, IoU, accuracy and learning rate.

python tools/plot_logs.py work_dirs/deeplabv3_focaldice
python tools/plot_logs.py work_dirs/unet work_dirs/deeplabv3 --names UNet DeepLabV3 --out comparison.png

Of a work dir the newest run is drawn, with the runs that it was resumed from. Runs of other MMSegmentation projects
can be drawn too.
"""

import argparse
from pathlib import Path

import _cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="work dir, a run's folder in it, or a log file such as scalars.json"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="picture to write, such as curves.png or curves.pdf; one of that name is replaced "
        "(default: curves.png, beside one run, in the current folder for several)",
    )
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="what to call the runs (default: ends of their paths)"
    )
    parser.add_argument(
        "--by",
        choices=["auto", "epoch", "step"],
        default="auto",
        help="horizontal axis; epochs suit runs of different batch sizes (default: epoch if all runs count epochs)",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from cityseg_ext.apis.curves import plot_curves

    first = Path(args.runs[0])
    folder = Path() if len(args.runs) > 1 else first.parent if first.is_file() else first
    result = plot_curves(args.runs, args.out or folder / "curves.png", args.names, args.by)
    for notice in result.notices:
        _cli.say(f"Note: {notice}")
    what = "1 run" if len(args.runs) == 1 else f"{len(args.runs)} runs"
    _cli.say(f"Wrote the curves of {what} to {result.picture}")


if __name__ == "__main__":
    _cli.run(main)
