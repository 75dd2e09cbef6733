"""Predict photographs that need no labels: one image, a folder, or a pattern such as 'drive/**/*.jpg'.

python tools/infer.py street.jpg configs/deeplabv3_focaldice.py work_dirs/deeplabv3_focaldice/best.pth
"""

import argparse
import sys

import _cli
import _prediction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="an image, a folder (searched at any depth), or a pattern in quotes")
    parser.add_argument("config", help="the config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help="checkpoint file; only tensors are read from it")
    parser.add_argument("--out", default="predictions", metavar="DIR", help="folder for results (default: %(default)s)")
    parser.add_argument(
        "--save",
        nargs="+",
        default=["class_map", "overlay"],
        choices=["class_map", "overlay", "confidence", "probabilities"],
        help="what to write, each into a folder of its name: class indices (8-bit PNG), colours over the photograph "
        "(JPEG), probability of the predicted class (16-bit PNG, times 65535), probabilities of all classes (NPZ, "
        "float16). Default: class_map overlay",
    )
    parser.add_argument("--opacity", type=float, default=0.5, metavar="X", help="of overlays, 0 to 1 (default: 0.5)")
    parser.add_argument("--no-legend", action="store_true", help="overlays without the names of classes below")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there; else they are kept")
    parser.add_argument(
        "--batch-size", type=int, default=4, metavar="N", help="images at a time (default: %(default)s)"
    )
    _prediction.add_prediction_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    predictor = _prediction.load_predictor(args)
    from cityseg_ext.apis.infer_images import infer_images

    with _cli.progress_bar("predicting") as progress:
        result = infer_images(
            predictor,
            args.input,
            args.out,
            kinds=args.save,
            opacity=args.opacity,
            legend=not args.no_legend,
            batch_size=args.batch_size,
            overwrite=args.overwrite,
            progress=progress,
        )
    for reason in result.failed.values():
        print(f"not read: {reason}", file=sys.stderr)
    rate = f", {result.written / result.seconds:.1f} images/s" if result.written else ""
    kept = f", kept {result.kept} that were there (--overwrite replaces them)" if result.kept else ""
    failed = f", {len(result.failed)} could not be read" if result.failed else ""
    _cli.say(f"Predicted {result.written} images{rate}{kept}{failed}. {' and '.join(args.save)}: {args.out}")
    if result.failed:
        sys.exit(1)


if __name__ == "__main__":
    _cli.run(main)
