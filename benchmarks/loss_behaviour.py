"""What losses do at void pixels, for missed and absent classes, for wrong labels, and in half precision: no timing.

python benchmarks/loss_behaviour.py

Peers take part where their packages are installed (mmseg always; monai, kornia, segmentation_models_pytorch), each with
the void label given in its own way; '-' where it has none. MONAI's losses take one-hot targets or class numbers without
void, so that nothing can be said of void there.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from prettytable import PrettyTable, TableStyle
from torch import Tensor

from cityseg_ext.functional.focal_dice import focal_dice
from cityseg_ext.labels import CITYSCAPES_19, IGNORE_INDEX

C = CITYSCAPES_19.num_classes
Loss = Callable[[Tensor, Tensor], Tensor]


def losses() -> Iterator[tuple[str, Callable[[], Loss]]]:
    """Names, and functions that import and build."""
    yield "ours, FocalDice", lambda: lambda x, t: focal_dice(x, t).total
    yield "F.cross_entropy", lambda: lambda x, t: F.cross_entropy(x, t, ignore_index=IGNORE_INDEX)
    yield "mmseg DiceLoss", mmseg_dice
    yield "mmseg FocalLoss, one-hot", mmseg_focal
    yield "MONAI DiceFocalLoss", monai_dice_focal
    yield "kornia dice, macro", kornia_dice
    yield "kornia focal", kornia_focal
    yield "SMP DiceLoss", lambda: smp("DiceLoss")
    yield "SMP FocalLoss", lambda: smp("FocalLoss")


def mmseg_dice() -> Loss:
    from mmseg.models.losses import DiceLoss

    return DiceLoss(use_sigmoid=False, ignore_index=IGNORE_INDEX)


def mmseg_focal() -> Loss:
    from mmseg.models.losses import FocalLoss

    loss = FocalLoss()  # on a CPU it takes one-hot targets only

    def call(logits: Tensor, target: Tensor) -> Tensor:
        one_hot = F.one_hot(torch.where(target == IGNORE_INDEX, 0, target), logits.shape[1]).movedim(3, 1)
        return loss(logits, one_hot, ignore_index=IGNORE_INDEX)

    return call


def monai_dice_focal() -> Loss:
    from monai.losses import DiceFocalLoss

    loss = DiceFocalLoss(softmax=True, to_onehot_y=True)

    def call(logits: Tensor, target: Tensor) -> Tensor:
        if (target == IGNORE_INDEX).any():
            raise NotImplementedError
        return loss(logits, target[:, None])

    return call


def kornia_dice() -> Loss:
    from kornia.losses import dice_loss

    return lambda x, t: dice_loss(x, t, average="macro", ignore_index=IGNORE_INDEX)


def kornia_focal() -> Loss:
    from kornia.losses import focal_loss

    return lambda x, t: focal_loss(x, t, alpha=None, gamma=2.0, reduction="mean", ignore_index=IGNORE_INDEX)


def smp(name: str) -> Loss:
    from segmentation_models_pytorch import losses

    return getattr(losses, name)("multiclass", ignore_index=IGNORE_INDEX)


def scene(classes: int = C, seen: int = C) -> tuple[Tensor, Tensor]:
    """Nearly perfect logits, and labels in squares, for two images of 64x64."""
    torch.manual_seed(0)
    target = torch.randint(0, seen, (2, 8, 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return 8.0 * F.one_hot(target, classes).movedim(3, 1), target


def void_moves_it(loss: Loss) -> str:
    logits = torch.randn(2, C, 64, 64)
    target = scene()[1]
    target[:, :20] = IGNORE_INDEX
    spoilt = logits.clone()
    spoilt[:, :, :20] += 10 * torch.randn(2, C, 20, 64)
    return number(loss(spoilt, target) - loss(logits, target))


def missed_class(loss: Loss) -> str:
    """One per cent of the pixels, all called something else."""
    logits, target = scene(seen=C - 1)
    target[:, :6, :7] = C - 1
    return number(loss(logits, target))


def absent_classes(loss: Loss) -> str:
    return number(loss(*scene(seen=3)))


def all_void(loss: Loss) -> str:
    logits = torch.randn(2, C, 64, 64, requires_grad=True)
    value = loss(logits, torch.full((2, 64, 64), IGNORE_INDEX))
    value.backward()
    gradient = logits.grad.abs().max() if logits.grad is not None else torch.zeros(())
    return f"{number(value)}, gradient {number(gradient)}"


def wrong_label(loss: Loss) -> str:
    logits, target = scene(classes=3, seen=3)
    target[0, 0, 0] = 30
    return f"accepted: {number(loss(logits, target))}"


def half_precision(loss: Loss) -> str:
    """How far the value in float16 is from that in float32."""
    logits, target = scene()
    logits = logits + torch.randn_like(logits)
    exact = loss(logits, target)
    return number((loss(logits.half(), target).float() - exact) / exact)


def number(value: Tensor) -> str:
    value = float(value)
    return "0" if value == 0 else f"{abs(value):.1g}"


CASES = {
    "void logits move it by": void_moves_it,
    "all void": all_void,
    "1 % of one class missed": missed_class,
    "16 of 19 classes absent": absent_classes,
    "label 30 of 3 classes": wrong_label,
    "error in float16": half_precision,
}


def outcome(case: Callable[[Loss], str], loss: Loss) -> str:
    try:
        return case(loss)
    except NotImplementedError:
        return "-"
    except Exception as error:  # what they raise is what is asked
        return type(error).__name__


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.simplefilter("ignore")
    table = PrettyTable(["loss", *CASES], align="l")
    table.set_style(TableStyle.MARKDOWN)
    for name, build in losses():
        try:
            loss = build()
        except ImportError as error:
            print(f"{name} takes no part: {error}")
            continue
        table.add_row([name, *(outcome(case, loss) for case in CASES.values())])
    print(table)


if __name__ == "__main__":
    main()
