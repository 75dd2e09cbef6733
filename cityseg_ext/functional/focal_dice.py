"""Focal + Dice loss on softmax logits, with void pixels that do nothing.

The loss is a function of a few sums over pixels (:class:`FocalDiceSums`). Sums of several batches, images or ranks add
up, which is how a validation loss over a whole data set is the loss that training minimises, whatever the batch size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cityseg_ext.checks import check_at_least, check_choice, expected
from cityseg_ext.functional.focal_dice_blocks import BlockwiseFocalDiceSums
from cityseg_ext.functional.focal_dice_numba import NumbaFocalDiceSums, numba_can_run
from cityseg_ext.functional.focal_dice_plain import FocalDiceSums, plain_focal_dice_sums
from cityseg_ext.functional.focal_dice_trial import agrees
from cityseg_ext.functional.focal_dice_triton import TritonFocalDiceSums, triton_can_run
from cityseg_ext.labels import IGNORE_INDEX

DICE_POOLS = ("batch", "image")
ABSENT_POLICIES = ("skip", "count")


class FocalDice(NamedTuple):
    """The loss and its two parts before weighting; scalar tensors.

    Attributes:
        total: ``focal_weight * focal + dice_weight * dice``.
        focal: the focal term.
        dice: the Dice term, 0 (perfect) to 1.
    """

    total: Tensor
    focal: Tensor
    dice: Tensor


def focal_dice(
    logits: Tensor,
    target: Tensor,
    *,
    focal_weight: float = 1.5,
    dice_weight: float = 1.0,
    gamma: float = 2.0,
    class_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    dice_pool: str = "batch",
    absent: str = "skip",
    smooth: float = 1.0,
    pixel_weight: Tensor | None = None,
    align_corners: bool | None = None,
) -> FocalDice:
    r"""Focal loss plus Dice loss.

    The focal term (Lin et al., "Focal loss for dense object detection", ICCV 2017) is the mean of
    :math:`-w_t (1 - p_t)^\gamma \log p_t` over the labelled pixels, :math:`p_t` being the softmax probability of the
    true class; with class weights it is the weighted mean, divided by the sum of :math:`w_t`. With ``gamma=0`` and
    ``dice_weight=0`` it therefore equals ``F.cross_entropy(logits, target, class_weight, ignore_index=...)``.

    The Dice term (Milletari et al., "V-Net", 3DV 2016) is one minus the mean, over classes, of
    :math:`(2 \sum p_c y_c + s) / (\sum p_c + \sum y_c + s)`. A class without a pixel in the truth is **absent**:
    with ``absent='skip'`` it is left out of the mean (false positives of it still cost, through the classes that lose
    these pixels); with ``absent='count'`` it stays in and its false positives cost directly.

    Pixels whose target is ``ignore_index`` take no part: neither value nor gradient depends on their logits, even if
    these are NaN. If no pixel is labelled, the loss is 0 and so is the gradient.

    Args:
        logits: (N, C, H, W), any floating type; half precision is computed in float32.
        target: (N, H, W) integers, 0 .. C-1 or ``ignore_index``.
        focal_weight: factor of the focal term.
        dice_weight: factor of the Dice term.
        gamma: focusing exponent, at least 0.
        class_weight: (C,) weights, at least 0; they weight pixels in the focal term and classes in the Dice mean.
        ignore_index: the value of void pixels.
        dice_pool: ``'batch'`` sums pixels over the whole batch before the ratio is taken, ``'image'`` takes it for
            each image and averages over images that have a labelled pixel.
        absent: ``'skip'`` or ``'count'``.
        smooth: the constant s, in pixels.
        pixel_weight: (N, H, W) weights, at least 0, of single pixels in all sums (as mmseg's pixel samplers give them).
        align_corners: if not None, logits may be of any size (N, C, h, w) and are upsampled bilinearly to the target's
            on the way, as ``F.interpolate`` does with this option, but the upsampled logits are never all in memory.

    Returns:
        The loss and its parts.

    Raises:
        ValueError: if shapes do not fit, or a target is neither a class nor ``ignore_index``.

    Example:
        >>> logits = torch.tensor([[[[9.0, 0.0]], [[0.0, 9.0]]]])  # (1, 2, 1, 2)
        >>> loss = focal_dice(logits, torch.tensor([[[0, 255]]]))
        >>> bool(loss.total < 1e-3)
        True
    """
    sums = focal_dice_sums(
        logits,
        target,
        gamma=gamma,
        class_weight=class_weight,
        ignore_index=ignore_index,
        pixel_weight=pixel_weight,
        align_corners=align_corners,
    )
    return focal_dice_from_sums(
        sums,
        focal_weight=focal_weight,
        dice_weight=dice_weight,
        class_weight=class_weight,
        dice_pool=dice_pool,
        absent=absent,
        smooth=smooth,
    )


def focal_dice_sums(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    class_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    pixel_weight: Tensor | None = None,
    align_corners: bool | None = None,
) -> FocalDiceSums:
    """The sums over pixels that :func:`focal_dice` is made of; arguments as there.

    A fused version computes them: on a GPU by Triton's kernels and on a CPU by Numba's loops, where these can, else by
    torch in blocks. If a derivative by a weight or a compiler's view inside is wanted, it is the plain one. All give
    the same numbers, to rounding.
    """
    _check_inputs(logits, target, class_weight, pixel_weight, align_corners)
    check_at_least("gamma", gamma, 0)
    fused = _fused_version(logits, target, class_weight, pixel_weight, align_corners)
    if fused is not None:
        sums = fused.apply(logits, target, class_weight, pixel_weight, gamma, ignore_index, align_corners)
        return FocalDiceSums(*sums)
    return plain_focal_dice_sums(
        logits,
        target,
        gamma=gamma,
        class_weight=class_weight,
        ignore_index=ignore_index,
        pixel_weight=pixel_weight,
        align_corners=align_corners,
    )


def _fused_version(
    logits: Tensor, target: Tensor, class_weight: Tensor | None, pixel_weight: Tensor | None, align_corners: bool | None
) -> type[torch.autograd.Function] | None:
    """The one place that chooses the implementation; None stands for the plain one."""
    weights = [weight for weight in (class_weight, pixel_weight) if weight is not None]
    differentiable = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
    if differentiable or torch.compiler.is_compiling():
        return None
    if triton_can_run(logits, target, align_corners) and agrees(TritonFocalDiceSums, "Triton", logits.device):
        return TritonFocalDiceSums
    if numba_can_run(logits) and agrees(NumbaFocalDiceSums, "Numba", logits.device):
        return NumbaFocalDiceSums
    return BlockwiseFocalDiceSums if logits.device.type in ("cpu", "cuda") else None


def focal_dice_from_sums(
    sums: FocalDiceSums,
    *,
    focal_weight: float = 1.5,
    dice_weight: float = 1.0,
    class_weight: Tensor | None = None,
    dice_pool: str = "batch",
    absent: str = "skip",
    smooth: float = 1.0,
    add_ranks: Callable[[Tensor], Tensor] | None = None,
) -> FocalDice:
    """The loss that follows from the sums; arguments as in :func:`focal_dice`, and one more.

    Args:
        sums: of this process' pixels.
        add_ranks: adds a vector to those of other processes, so that the loss is that of all their pixels. It is called
            once, whatever is in the batch.

    Returns:
        The loss and its parts.
    """
    check_choice("dice_pool", dice_pool, DICE_POOLS)
    check_choice("absent", absent, ABSENT_POLICIES)
    focal, norm, *rows = sums.focal.sum(), sums.norm.sum(), sums.overlap, sums.predicted, sums.actual
    if dice_pool == "batch":
        focal, norm, *rows = _added([focal, norm, *(part.sum(0, keepdim=True) for part in rows)], add_ranks)
        dice, images = _dice(*rows, class_weight=class_weight, absent=absent, smooth=smooth)
    else:
        dice, images = _dice(*rows, class_weight=class_weight, absent=absent, smooth=smooth)
        focal, norm, dice, images = _added([focal, norm, dice, images], add_ranks)
    focal = focal / torch.where(norm > 0, norm, 1)
    dice = dice / images.clamp_min(1)
    return FocalDice(focal_weight * focal + dice_weight * dice, focal, dice)


def _added(parts: list[Tensor], add_ranks: Callable[[Tensor], Tensor] | None) -> list[Tensor]:
    """All parts in one call: what counts is how often processes wait for each other."""
    if add_ranks is None:
        return parts
    totals = add_ranks(torch.cat([part.flatten() for part in parts])).split([part.numel() for part in parts])
    return [total.view(part.shape) for total, part in zip(totals, parts, strict=True)]


def _dice(
    overlap: Tensor, predicted: Tensor, actual: Tensor, *, class_weight: Tensor | None, absent: str, smooth: float
) -> tuple[Tensor, Tensor]:
    """The sum of the Dice terms of rows (R, C), and the number of rows with a labelled pixel; both scalars."""
    loss = 1 - (2 * overlap + smooth) / (predicted + actual + smooth).clamp_min(1e-12)
    has_pixels = actual.sum(1, keepdim=True) > 0
    counted = (actual > 0) if absent == "skip" else has_pixels.expand_as(actual)
    class_share = counted.to(loss.dtype)
    if class_weight is not None:
        class_share = class_share * class_weight.to(loss)
    total_share = class_share.sum(1)
    per_row = (loss * class_share).sum(1) / torch.where(total_share > 0, total_share, 1)
    return per_row.sum(), has_pixels.to(loss.dtype).sum()


def _check_inputs(
    logits: Tensor, target: Tensor, class_weight: Tensor | None, pixel_weight: Tensor | None, align_corners: bool | None
) -> None:
    if logits.ndim != 4:
        raise ValueError(expected("logits", "of shape (N, C, H, W)", tuple(logits.shape)))
    batch, classes = logits.shape[:2]
    height, width = logits.shape[2:] if align_corners is None or target.ndim != 3 else target.shape[1:]
    for name, tensor, shape in (
        ("target", target, (batch, height, width)),
        ("class_weight", class_weight, (classes,)),
        ("pixel_weight", pixel_weight, (batch, height, width)),
    ):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                expected(name, f"of shape {shape} for logits of {tuple(logits.shape)}", tuple(tensor.shape))
            )
