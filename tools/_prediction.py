"""What scripts that take a trained model share: their options, and config and model that these describe."""

import argparse

import _cli

CONFIG_HELP = (
    "the config that the checkpoint was trained with (default: a published checkpoint's own, or the one *.py beside it)"
)


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
    _cli.add_cfg_options(parser)
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


def config_of(args: argparse.Namespace, **options: object):
    """The config named, or else the one that belongs to the checkpoint, with options written into it."""
    from cityseg_ext.apis.find_config import find_config
    from cityseg_ext.apis.publish import config_for

    config = args.config
    if config is None:
        config = find_config(args.checkpoint, args.trust_checkpoint)
        if config is not None:
            _cli.say(f"Config: {config}, found beside the checkpoint")
    return config_for(args.checkpoint, config, **options)


def predictor_of(args: argparse.Namespace, **options: object) -> tuple:
    """Config and further arguments of a `Predictor`, from the options of a script."""
    from cityseg_ext.apis.config import select_device
    from cityseg_ext.apis.inference_options import refiner_of

    select_device(args.device)
    cfg = config_of(args, image_size=args.image_size, cfg_options=args.cfg_options, **options)
    arguments = {name: getattr(args, name) for name in ("tta", "tta_scales", "slide", "amp")}
    return cfg, arguments | dict(refiner=refiner_of(cfg, args.crf), trust=args.trust_checkpoint)


def load_predictor(args: argparse.Namespace):
    """The model that the options of a script describe, ready for photographs."""
    from cityseg_ext.apis.predictor import Predictor

    cfg, arguments = predictor_of(args)
    return Predictor(cfg, args.checkpoint, **arguments)
