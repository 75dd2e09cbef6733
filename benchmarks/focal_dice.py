"""Focal + Dice, forward and backward, against cross-entropy and against others' losses in the same run.

python benchmarks/focal_dice.py --threads 1
python benchmarks/focal_dice.py --device cuda --json gpu.json

Peers take part where their packages are installed (mmseg always; monai, kornia, segmentation_models_pytorch). What they
compute differs in details: void pixels, absent classes, one-hot or not; see docs/performance.md.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from _side_by_side import compare
from torch import Tensor

from cityseg_ext.functional.focal_dice import focal_dice, focal_dice_from_sums
from cityseg_ext.functional.focal_dice_blocks import BlockwiseFocalDiceSums
from cityseg_ext.functional.focal_dice_plain import FocalDiceSums, plain_focal_dice_sums
from cityseg_ext.labels import CITYSCAPES_19, IGNORE_INDEX

Loss = Callable[[Tensor, Tensor], Tensor]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def plain(logits: Tensor, target: Tensor) -> Tensor:
    return focal_dice_from_sums(plain_focal_dice_sums(logits, target)).total


def fused(logits: Tensor, target: Tensor) -> Tensor:
    return focal_dice(logits, target).total


def blocks(logits: Tensor, target: Tensor, align_corners: bool | None = None) -> Tensor:
    """What a GPU without Triton has, and a CPU without Numba."""
    sums = BlockwiseFocalDiceSums.apply(logits, target, None, None, 2.0, IGNORE_INDEX, align_corners)
    return focal_dice_from_sums(FocalDiceSums(*sums)).total


def more_of_ours(device: str) -> dict[str, Loss]:
    """What is of interest where compiled kernels or loops are what is used."""
    compiled = {"ours, plain, torch.compile": torch.compile(plain)} if device == "cuda" else {}
    return {"ours, torch in blocks": blocks} | compiled


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX)


def mmseg_loss() -> Loss:
    from mmseg.models.losses import DiceLoss, FocalLoss

    dice, focal = DiceLoss(ignore_index=IGNORE_INDEX), FocalLoss(gamma=2.0)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        # Its focal loss takes one-hot targets only on a CPU, and its Dice loss cannot count to 255.
        safe = torch.where(target == IGNORE_INDEX, 0, target)
        one_hot = F.one_hot(safe, logits.shape[1]).movedim(3, 1)
        return dice(logits, safe) + focal(logits, one_hot, ignore_index=IGNORE_INDEX)

    return loss


def monai_loss() -> Loss:
    from monai.losses import DiceFocalLoss

    loss = DiceFocalLoss(softmax=True, to_onehot_y=True)
    return lambda logits, target: loss(logits, torch.where(target == IGNORE_INDEX, 0, target)[:, None])


def kornia_loss() -> Loss:
    from kornia.losses import dice_loss, focal_loss

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        focal = focal_loss(logits, target, alpha=None, gamma=2.0, reduction="mean", ignore_index=IGNORE_INDEX)
        return dice_loss(logits, target, average="macro", ignore_index=IGNORE_INDEX) + focal

    return loss


def smp_loss() -> Loss:
    from segmentation_models_pytorch.losses import DiceLoss, FocalLoss

    dice, focal = (loss("multiclass", ignore_index=IGNORE_INDEX) for loss in (DiceLoss, FocalLoss))
    return lambda logits, target: dice(logits, target) + focal(logits, target)


def peers() -> Iterator[tuple[str, Loss]]:
    for name, build in {
        "mmseg Dice + Focal": mmseg_loss,
        "MONAI DiceFocal": monai_loss,
        "kornia dice + focal": kornia_loss,
        "SMP Dice + Focal": smp_loss,
    }.items():
        try:
            yield name, build()
        except ImportError as error:
            print(f"{name} takes no part: {error}")


def batch(
    size: list[int], scale: int = 1, device: str = DEVICE, dtype: str = "float32", channels_last: bool = False
) -> tuple[Tensor, Tensor]:
    """Logits of 1/scale of the size, and labels in squares of 64 pixels with 5 % void."""
    images, classes, height, width = size
    torch.manual_seed(0)
    logits = torch.randn(images, classes, height // scale, width // scale)
    squares = torch.randint(0, classes, (images, -(-height // 64), -(-width // 64)))
    target = squares.repeat_interleave(64, 1).repeat_interleave(64, 2)[:, :height, :width].clone()
    target[torch.rand(target.shape) < 0.05] = IGNORE_INDEX
    layout = torch.channels_last if channels_last else torch.contiguous_format
    logits = logits.to(device, getattr(torch, dtype), memory_format=layout)
    return logits.requires_grad_(), target.to(device)


def bytes_of(*tensors: Tensor) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def training(loss: Loss, logits: Tensor, target: Tensor) -> Callable[[], None]:
    """Forward and backward."""

    def work() -> None:
        loss(logits, target).backward()
        logits.grad = None

    return work


def parse(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = [4, CITYSCAPES_19.num_classes, 512, 1024]
    parser.add_argument("--size", nargs=4, type=int, default=size, metavar=("N", "C", "H", "W"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--device", choices=["cpu", "cuda"], default=DEVICE, help="default: %(default)s")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32", help="of the logits")
    parser.add_argument("--channels-last", action="store_true", help="memory layout of the logits")
    parser.add_argument("--no-peers", action="store_true", help="only cross-entropy and ours")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    return args


def main() -> None:
    args = parse(__doc__)
    logits, target = batch(args.size, 1, args.device, args.dtype, args.channels_last)
    losses = {"F.cross_entropy": cross_entropy, "ours, fused": fused, "ours, plain": plain}
    losses |= more_of_ours(args.device)
    if not args.no_peers:
        losses |= dict(peers())
    ways = {name: training(loss, logits, target) for name, loss in losses.items()}
    print(f"{' x '.join(map(str, args.size))} {args.dtype}, forward + backward; memory in units of the logits")
    # Logits and labels are read in both passes, and the gradient is written.
    least = 3 * bytes_of(logits) + 2 * bytes_of(target)
    compare(
        ways,
        "F.cross_entropy",
        args.threads,
        args.rounds,
        bytes_of(logits),
        args.json,
        gpu=args.device == "cuda",
        least_bytes=least,
    )


if __name__ == "__main__":
    main()
