"""Look at what the model really sees: images and labels after the pipeline, as panels in a folder.

python tools/browse_dataset.py configs/deeplabv3_focaldice.py --data-root data/cityscapes --num 20
"""

import argparse

import _cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file, such as configs/deeplabv3_focaldice.py")
    _cli.add_config_options(parser)
    parser.add_argument("--split", choices=["train", "val", "test"], default="train", help="default: %(default)s")
    parser.add_argument("--num", type=int, default=20, help="images, at even distances (default: %(default)s)")
    parser.add_argument(
        "--out",
        "--out-dir",
        dest="out_dir",
        metavar="DIR",
        help="folder for the pictures (default: <work dir>/browse/<split>)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random augmentations (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=1, help="random draws of each image (default: %(default)s)")
    parser.add_argument(
        "--alpha", type=float, default=0.5, help="class colours over the photograph, 0 to 1 (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = _cli.load(args)
    from cityseg_ext.apis.browse import browse

    with _cli.progress_bar("drawing panels") as progress:
        result = browse(
            cfg,
            split=args.split,
            num=args.num,
            out_dir=args.out_dir,
            seed=args.seed,
            repeat=args.repeat,
            alpha=args.alpha,
            progress=progress,
        )
    _cli.say(f"Wrote {result.panels} panels to {result.folder} (at a glance: {result.sheet})")


if __name__ == "__main__":
    _cli.run(main)
