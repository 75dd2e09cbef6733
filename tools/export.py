"""Write a trained model as one ONNX file (or PyTorch's .pt2), which runs without this package.

python tools/export.py configs/deeplabv3_focaldice.py work_dirs/deeplabv3_focaldice/best_mDice_*.pth
python tools/export.py deeplabv3-0123abcd.pth --output logits    (a file of tools/publish.py)

The file takes photographs as they are and predicts images of any number and size; tools/run_onnx.py shows how.
It is compared with the model on several sizes, and not kept if it differs. docs/export.md says more.
"""

import argparse
import logging
import warnings

import _cli
import _prediction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("config", nargs="?", help=_prediction.CONFIG_HELP)
    add("checkpoint", help="checkpoint file; only tensors are read from it")
    add("--out", metavar="FILE", help="default: beside the checkpoint, under its name with .onnx or .pt2")
    add(
        "--format",
        choices=["onnx", "torch"],
        default="onnx",
        help="torch: for torch.export.load (default: %(default)s)",
    )
    add(
        "--output",
        choices=["class_map", "logits", "probabilities"],
        default="class_map",
        help="what the file returns: a class index a pixel, or a number a class and pixel (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace the file if it is there")
    _cli.add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from rich.console import Console

    from cityseg_ext.apis.export import export

    cfg = _prediction.config_of(args)
    # PyTorch's exporter tells about its own deprecated parts, and about libraries that nothing here uses.
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with Console(stderr=True).status("") as status:
        result = export(
            cfg,
            args.checkpoint,
            out=args.out,
            format=args.format,
            output=args.output,
            overwrite=args.overwrite,
            trust=args.trust_checkpoint,
            progress=status.update,
        )
    agreement = result.agreement
    sizes = ", ".join(f"{height}x{width}" for height, width in agreement.sizes)
    _cli.say(
        f"Wrote {result.path} ({result.path.stat().st_size / 1e6:.1f} MB). Against the model on images of {sizes}: "
        f"{agreement.equal:.4%} of the pixels get the same class, largest difference {agreement.difference:.1e}."
    )


if __name__ == "__main__":
    _cli.run(main)
