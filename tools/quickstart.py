"""Train and evaluate DeepLabV3 on built-in synthetic street scenes: the whole job in a few minutes on a laptop.

python tools/quickstart.py        (or: make demo)
"""

import argparse

import _cli


def parse_args() -> argparse.Namespace:
    from cityseg_ext.apis.synthetic_cityscapes import NUM_TRAIN, NUM_VAL

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="configs/demo_deeplabv3_focaldice.py", help="default: %(default)s")
    _cli.add_config_options(parser)
    parser.add_argument("--num-epochs", type=int, help="passes over the training scenes (default: the config's)")
    add = parser.add_argument
    add("--num-train", type=int, default=NUM_TRAIN, metavar="N", help="scenes to train on (default: %(default)s)")
    add("--num-val", type=int, default=NUM_VAL, metavar="N", help="scenes held out (default: %(default)s)")
    parser.add_argument(
        "--drive", action="store_true", help="write drive.gif too: a drive along a street that was not trained on"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = _cli.load(args)
    from prettytable import PrettyTable

    from cityseg_ext.apis.quickstart import quickstart

    with _cli.progress_bar("writing scenes") as progress:
        result = quickstart(cfg, args.num_train, args.num_val, drive=args.drive, progress=progress)
    table = PrettyTable(["", "held-out scenes"], align="r")
    table.align[""] = "l"
    for name, title in (("mDice", "mDice"), ("mIoU", "mIoU"), ("aAcc", "pixel accuracy"), ("val/loss", "val loss")):
        table.add_row([title, f"{result.metrics[name]:.4f}"])
    table.add_row(["minutes of training", f"{result.minutes:.1f}"])
    _cli.say(table)
    _cli.say(f"Training curves                   {result.curves}")
    _cli.say(f"Photo | ground truth | prediction {result.panels}")
    if result.drive is not None:
        _cli.say(f"Drive, predicted frame by frame   {result.drive}")
    _cli.say(f"Checkpoint                        {result.checkpoint}")


if __name__ == "__main__":
    _cli.run(main)
