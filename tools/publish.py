"""Strip a checkpoint to weights and plain facts for others, and write a model card.

python tools/publish.py work_dirs/unet_ce/best_mDice_epoch_10.pth --out published    (its config is beside it)

Writes <name>-<first 8 digits of its SHA-256>.pth, which has its config in it as data and loads with weights_only=True,
and a Markdown file of that name. Folders and accounts are taken out of the config. docs/export.md says more.
"""

import argparse

import _cli
import _prediction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("config", nargs="?", help=_prediction.CONFIG_HELP)
    add("checkpoint", help="checkpoint file; only tensors and plain values are read from it")
    add("--out", metavar="DIR", default="published", help="folder to write (default: %(default)s)")
    add("--name", help="how the names begin (default: the config's name)")
    add(
        "--record",
        metavar="FILE",
        help="scores: record.json of tools/test.py --report (default: that in the work dir if it is of this "
        "checkpoint, else the validation in its log)",
    )
    add("--licence", metavar="TEXT", help="that of the weights, for the card, such as 'CC BY-NC 4.0'")
    add("--overwrite", action="store_true", help="replace files of these names")
    _cli.add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from cityseg_ext.apis.publish import publish

    result = publish(
        _prediction.config_of(args),
        args.checkpoint,
        args.out,
        name=args.name,
        record=args.record,
        licence=args.licence,
        overwrite=args.overwrite,
        trust=args.trust_checkpoint,
    )
    if result.changed:
        _cli.say(f"Taken out of the config, or shortened: {', '.join(result.changed)}")
    _cli.say(f"Wrote {result.checkpoint} ({result.checkpoint.stat().st_size / 1e6:.1f} MB) and its card {result.card}")


if __name__ == "__main__":
    _cli.run(main)
