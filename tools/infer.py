"""Predict photographs or a video that need no labels.

python tools/infer.py street.jpg configs/deeplabv3_focaldice.py work_dirs/deeplabv3_focaldice/best_mDice_*.pth
python tools/infer.py drive.mp4 work_dirs/deeplabv3_focaldice/best_mDice_*.pth --every 2    (its config is beside it)
"""

import argparse
import sys
from collections.abc import Sequence

import _cli
import _prediction
import _video


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "input",
        help="an image, a folder (searched at any depth), or a pattern in quotes such as 'drive/**/*.jpg'; a video "
        "file; or the number of a camera, 0 for the first, which is read until Ctrl-C",
    )
    parser.add_argument("config", nargs="?", help=_prediction.CONFIG_HELP)
    parser.add_argument("checkpoint", help="checkpoint file; only tensors are read from it")
    parser.add_argument(
        "--out",
        default="predictions",
        metavar="PATH",
        help="folder for results (default: %(default)s), or the video to write (.mp4, .mov, .mkv, .webm, .avi or "
        ".gif), of a video, or of all images of a folder or pattern in the order of their names",
    )
    parser.add_argument("--opacity", type=float, default=0.5, metavar="X", help="of overlays, 0 to 1 (default: 0.5)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument(
        "--batch-size", type=int, default=4, metavar="N", help="images at a time (default: %(default)s)"
    )
    _prediction.add_prediction_options(parser)
    images = parser.add_argument_group("images", argument_default=argparse.SUPPRESS)
    images.add_argument(
        "--save",
        nargs="+",
        choices=["class_map", "overlay", "confidence", "probabilities"],
        help="what to write, each into a folder of its name: class indices (8-bit PNG), colours over the photograph "
        "(JPEG), probability of the predicted class (16-bit PNG, times 65535), probabilities of all classes (NPZ, "
        "float16). Default: class_map overlay",
    )
    images.add_argument("--no-legend", action="store_true", help="overlays without the names of classes below")
    _video.add_video_options(parser)
    return parser.parse_args()


IMAGE_OPTIONS = ("save", "no_legend")


def main() -> None:
    args = parse_args()
    video = _video.video_to_write(args)
    if video is None:
        refuse(args, _video.OPTIONS, "a video, as input or as --out")
        infer_images(args)
    else:
        refuse(args, IMAGE_OPTIONS, "images, not with a video")
        _video.infer_video(args, video)


def refuse(args: argparse.Namespace, names: Sequence[str], use: str) -> None:
    """Raise ``ValueError`` for options that were given and would do nothing; ``use`` says what they are for."""
    from cityseg_ext.checks import expected

    for name in names:
        if hasattr(args, name):
            raise ValueError(expected(f"--{name.replace('_', '-')}", f"used with {use}", repr(args.input)))


def infer_images(args: argparse.Namespace) -> None:
    from cityseg_ext.apis.infer_images import infer_images

    predictor = _prediction.load_predictor(args)
    kinds = getattr(args, "save", ["class_map", "overlay"])
    with _cli.progress_bar("predicting") as progress:
        result = infer_images(
            predictor,
            args.input,
            args.out,
            kinds=kinds,
            opacity=args.opacity,
            legend=not hasattr(args, "no_legend"),
            batch_size=args.batch_size,
            overwrite=args.overwrite,
            progress=progress,
        )
    for reason in result.failed.values():
        print(f"not read: {reason}", file=sys.stderr)
    rate = f", {result.written / result.seconds:.1f} images/s" if result.written else ""
    kept = f", kept {result.kept} that were there (--overwrite replaces them)" if result.kept else ""
    failed = f", {len(result.failed)} could not be read" if result.failed else ""
    _cli.say(f"Predicted {result.written} images{rate}{kept}{failed}. {' and '.join(kinds)}: {args.out}")
    if result.failed:
        sys.exit(1)


if __name__ == "__main__":
    _cli.run(main)
