"""Train a segmentor.

python tools/train.py configs/deeplabv3_focaldice.py --data-root data/cityscapes

Stopped by Ctrl-C or SIGTERM it saves first; the same command with --resume goes on to the same weights.
"""

import argparse
import shlex
import sys

import _cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "config",
        help="config file, such as configs/deeplabv3_focaldice.py; or the manifest.json of a run, to make it again",
    )
    _cli.add_config_options(parser, training=True)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the newest whole checkpoint of the work dir (none: from the start), or the one given",
    )
    _cli.add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = _cli.load(args)
    from cityseg_ext.apis import train

    command = shlex.join(["python", *sys.argv])
    result = train(cfg, args.resume, trust=args.trust_checkpoint, command=command)
    _cli.say(
        f"Trained for {result.minutes:.1f} minutes. Checkpoint: {result.checkpoint}  Curves: {result.curves}  "
        f"Logs: {result.scalars.parent}"
    )


if __name__ == "__main__":
    _cli.run(main)
