"""The loss of logits of 1/8 of the labels' size: upsampled inside the loss against before it.

python benchmarks/upsample_loss.py --threads 1
python benchmarks/upsample_loss.py --device cuda --json gpu.json
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch.nn.functional as F
from _side_by_side import compare
from focal_dice import Loss, batch, blocks, bytes_of, cross_entropy, fused, more_of_ours, parse, peers, plain, training
from torch import Tensor

from cityseg_ext.functional.focal_dice import focal_dice


def resized(loss: Loss) -> Loss:
    """What mmseg's heads do."""

    def both(logits: Tensor, target: Tensor) -> Tensor:
        return loss(F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=False), target)

    return both


def inside(logits: Tensor, target: Tensor) -> Tensor:
    return focal_dice(logits, target, align_corners=False).total


def main() -> None:
    args = parse(__doc__)
    logits, target = batch(args.size, 8, args.device, args.dtype, args.channels_last)
    losses = {
        "interpolate + cross_entropy": resized(cross_entropy),
        "ours, upsampling inside": inside,
        "ours, torch in blocks, upsampling inside": lambda logits, target: blocks(logits, target, False),
        "interpolate + ours, fused": resized(fused),
        "interpolate + ours, plain": resized(plain),
    }
    losses |= {f"interpolate + {name}": resized(loss) for name, loss in more_of_ours(args.device).items()}
    if not args.no_peers:
        losses |= {f"interpolate + {name}": resized(loss) for name, loss in peers()}
    ways = {name: training(loss, logits, target) for name, loss in losses.items()}
    size = " x ".join(map(str, args.size))
    print(f"1/8 of {size} {args.dtype}, forward + backward; memory in units of the full-size logits")
    unit = math.prod(args.size) * logits.element_size()
    least = 3 * bytes_of(logits) + 2 * bytes_of(target)
    compare(
        ways,
        "interpolate + cross_entropy",
        args.threads,
        args.rounds,
        unit,
        args.json,
        gpu=args.device == "cuda",
        least_bytes=least,
    )


if __name__ == "__main__":
    main()
