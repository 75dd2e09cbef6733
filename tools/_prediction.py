"""What scripts that predict share: their options, and the model that these describe."""

import argparse
from collections.abc import Sequence

import _cli


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Options of scripts that predict, which `load_predictor` understands."""
    parser.add_argument(
        "--image-size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="what photographs are resized to fit in, for the network only (default: the config's)",
    )
    add_augmentation_options(parser)
    parser.add_argument("--amp", action="store_true", help="half precision: fp16 on CUDA, bf16 elsewhere")
    _cli.add_device_option(parser)
    _cli.add_trust_option(parser)


def add_augmentation_options(parser: argparse.ArgumentParser) -> None:
    """Options of everything that predicts with a config."""
    parser.add_argument("--tta", action="store_true", help="average the predictions of flipped copies too")
    parser.add_argument(
        "--tta-scales",
        nargs="+",
        type=float,
        metavar="X",
        help="as --tta, with copies of these sizes too, such as 0.75 1 1.25",
    )
    parser.add_argument(
        "--slide",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="predict in windows of this size, in pixels of the resized image, that overlap (default: whole images)",
    )
    parser.add_argument(
        "--crf",
        action="store_true",
        help="refine predictions with a dense CRF, or with the config's `refiner`; see docs/refinement.md",
    )


def load_predictor(args: argparse.Namespace):
    """The model that the options of a script describe, ready for photographs."""
    from cityseg_ext.apis.config import select_device
    from cityseg_ext.apis.inference_options import refiner_of
    from cityseg_ext.apis.predictor import Predictor
    from cityseg_ext.apis.publish import config_for

    select_device(args.device)
    cfg = config_for(args.checkpoint, args.config, image_size=args.image_size)
    options = {name: getattr(args, name) for name in ("tta", "tta_scales", "slide", "amp")}
    options |= dict(refiner=refiner_of(cfg, args.crf), trust=args.trust_checkpoint)
    return Predictor(cfg, args.checkpoint, **options)


def refuse(args: argparse.Namespace, names: Sequence[str], use: str) -> None:
    """Raise ``ValueError`` for options that were given and would do nothing; ``use`` says what they are for."""
    from cityseg_ext.checks import expected

    for name in names:
        if hasattr(args, name):
            raise ValueError(expected(f"--{name.replace('_', '-')}", f"used with {use}", repr(args.input)))
