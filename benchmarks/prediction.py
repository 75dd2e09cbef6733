"""From small logits to a class map of the photograph's size: strips of rows against whole maps, as mmseg does it.

python benchmarks/prediction.py --size 1024 2048
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from _side_by_side import compare
from mmseg.models.utils import resize
from torch import Tensor

from cityseg_ext.functional.row_stream import best_class, resized_rows
from cityseg_ext.labels import CITYSCAPES_19

STRIDE = 8
"""Of a dilated ResNet."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("H", "W"), help="of the photograph")
    parser.add_argument("--input", type=int, nargs=2, default=(512, 1024), metavar=("H", "W"), help="of the network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-mmseg", action="store_true", help="ours alone, where mmseg's way does not fit")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    args = parse()
    classes, size, middle = CITYSCAPES_19.num_classes, tuple(args.size), tuple(args.input)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    low = torch.randn(1, classes, *(-(-side // STRIDE) for side in middle), device=device)

    def whole() -> tuple[Tensor, Tensor]:
        """What `predict_by_feat` and `postprocess_result` compute, and the confidence from it."""
        logits = resize(resize(low, middle, mode="bilinear", align_corners=False), size, mode="bilinear", warning=False)
        return logits.argmax(dim=1), logits.softmax(dim=1).amax(dim=1)

    def whole_map() -> Tensor:
        logits = resize(resize(low, middle, mode="bilinear", align_corners=False), size, mode="bilinear", warning=False)
        return logits.argmax(dim=1)

    def strips():
        rows = resized_rows([low[0]], low.shape[2], middle)
        return resized_rows(rows, middle[0], size)

    def ours() -> tuple[Tensor, Tensor]:
        class_map = torch.empty(size, dtype=torch.uint8)
        confidence = torch.empty(size)
        top = 0
        for strip in strips():
            here = slice(top, top := top + strip.shape[1])
            class_map[here], confidence[here] = best_class(strip)
        return class_map, confidence

    def ours_map() -> Tensor:
        class_map = torch.empty(size, dtype=torch.uint8)
        top = 0
        for strip in strips():
            here = slice(top, top := top + strip.shape[1])
            class_map[here] = strip.max(dim=0).indices
        return class_map

    ways = {"mmseg, class map": whole_map, "mmseg, and confidence": whole}
    if args.no_mmseg:
        ways = {}
    ways |= {"ours, class map": ours_map, "ours, and confidence": ours}
    print(f"{classes} classes, {'x'.join(map(str, middle))} to {'x'.join(map(str, size))}; memory in full-size logits")
    with torch.inference_mode():
        compare(ways, next(iter(ways)), args.threads, args.rounds, 4 * classes * size[0] * size[1], args.json)


if __name__ == "__main__":
    main()
