"""Evaluate a checkpoint, and write a picture for every image.

python tools/test.py configs/deeplabv3_focaldice.py work_dirs/deeplabv3_focaldice/best.pth --show-dir panels
"""

import argparse

import _cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help="checkpoint file; only tensors are read from it")
    _cli.add_config_options(parser)
    parser.add_argument("--show-dir", help="write a panel photo | ground truth | prediction for every image here")
    parser.add_argument("--out", metavar="DIR", help="write a class map (8-bit PNG) for every image here")
    parser.add_argument("--tta", action="store_true", help="average the predictions of flipped copies too")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = _cli.load(args)
    from cityseg_ext.apis import test

    metrics = test(cfg, args.checkpoint, show_dir=args.show_dir, out_dir=args.out, tta=args.tta)
    shown = ("mDice", "mIoU", "aAcc", "val/loss")
    line = "  ".join(f"{name} {metrics[name]:.4f}" for name in shown if name in metrics)
    written = "".join(
        f"  {what}: {path}" for what, path in (("Panels", args.show_dir), ("Class maps", args.out)) if path
    )
    _cli.say(f"{line}{written}")


if __name__ == "__main__":
    _cli.run(main)
