"""Evaluate a checkpoint, write a picture for every image, and a report.

python tools/test.py configs/unet_ce.py work_dirs/unet_ce/best_mDice_*.pth --show-dir panels --report
"""

import argparse
import shlex
import sys

import _cli
import _prediction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help="checkpoint file; only tensors are read from it")
    _cli.add_config_options(parser)
    parser.add_argument(
        "--show-dir", help="write a panel photo | truth | prediction | wrong pixels for every image here"
    )
    parser.add_argument("--out", metavar="DIR", help="write a class map (8-bit PNG) for every image here")
    _prediction.add_augmentation_options(parser)
    parser.add_argument(
        "--report",
        action="store_true",
        help="keep scores of every class and image, and pictures of the best and worst, in <work dir>/report, and show "
        "them there in report.html; tools/report.py draws it again, without the model",
    )
    _cli.add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = _cli.load(args)
    from cityseg_ext.apis import test
    from cityseg_ext.apis.refinement_table import refinement_table

    options = {name: getattr(args, name) for name in ("show_dir", "tta", "tta_scales", "slide", "crf", "report")}
    command = shlex.join(["python", *sys.argv])
    options |= dict(out_dir=args.out, command=command, trust=args.trust_checkpoint)
    result = test(cfg, args.checkpoint, **options)
    table = refinement_table(result.metrics)
    if table is not None:
        _cli.say(table)
    shown = ("mDice", "mIoU", "aAcc", "val/loss")
    parts = [f"{name} {result.metrics[name]:.4f}" for name in shown if name in result.metrics]
    for what, path in (("panels", args.show_dir), ("class maps", args.out)):
        parts += [f"{result.pictures} {what}: {path}"] if path else []
    parts += [f"report: {result.report}"] if result.report else []
    _cli.say("  ".join(parts))


if __name__ == "__main__":
    _cli.run(main)
