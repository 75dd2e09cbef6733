"""The sums of the focal and the Dice term in plain PyTorch: the reference of the fused version, and its fallback."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cityseg_ext.checks import expected, shorten
from cityseg_ext.labels import IGNORE_INDEX


class FocalDiceSums(NamedTuple):
    """Sums over the labelled pixels of each image; float32, or float64 for float64 logits.

    Attributes:
        focal: (N,) weighted sum of the focal term.
        norm: (N,) sum of the weights that belong to it: what the focal term is divided by.
        overlap: (N, C) sum of the probability of each class where it is the true one.
        predicted: (N, C) sum of the probability of each class.
        actual: (N, C) number (or weight) of the pixels of each class.
    """

    focal: Tensor
    norm: Tensor
    overlap: Tensor
    predicted: Tensor
    actual: Tensor


def plain_focal_dice_sums(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    class_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    pixel_weight: Tensor | None = None,
    align_corners: bool | None = None,
) -> FocalDiceSums:
    """What :func:`~cityseg_ext.functional.focal_dice.focal_dice_sums` gives, with tensors of the size of the logits.

    Every derivative exists, of any order and by any argument. Arguments as there; shapes are checked there.
    """
    check_labels(target, logits.shape[1], ignore_index)
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    if align_corners is not None:
        logits = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=align_corners)
    batch, classes = logits.shape[:2]
    labelled = target != ignore_index
    # Void logits are replaced, not multiplied by 0, so that not even a NaN there reaches value or gradient.
    log_prob = torch.where(labelled[:, None], logits, logits.new_zeros(())).log_softmax(dim=1)
    mask = labelled.to(logits.dtype)
    if pixel_weight is not None:
        mask = mask * pixel_weight.to(logits.dtype)
    safe_target = torch.where(labelled, target, 0).long()

    log_prob_true = log_prob.gather(1, safe_target[:, None])[:, 0]
    prob_true = log_prob_true.exp()
    weight = mask if class_weight is None else mask * class_weight.to(logits)[safe_target]
    focal = -weight * log_prob_true
    if gamma > 0:
        # expm1 keeps 1 - p exact near p = 1; the floor keeps the slope of x**gamma finite there for gamma < 1.
        focal = focal * (-torch.expm1(log_prob_true)).clamp_min(1e-12) ** gamma

    flat_target = safe_target.flatten(1)
    zeros = logits.new_zeros(batch, classes)
    return FocalDiceSums(
        focal=focal.flatten(1).sum(1),
        norm=weight.flatten(1).sum(1),
        overlap=zeros.scatter_add(1, flat_target, (prob_true * mask).flatten(1)),
        predicted=(log_prob.exp() * mask[:, None]).flatten(2).sum(2),
        actual=zeros.scatter_add(1, flat_target, mask.flatten(1)),
    )


def plain_gradient(ctx: Any, by_focal: Tensor, by_overlap: Tensor, by_predicted: Tensor) -> Tensor:
    """The gradient by the logits of sums that were not computed here, such that it can be differentiated again.

    Args:
        ctx: of an autograd function that saved logits, target and both weights, and gamma, the ignored index and
            ``align_corners`` as ``options``.
        by_focal: (N,) the loss' gradient by the focal sums.
        by_overlap: (N, C) that by the overlaps.
        by_predicted: (N, C) that by the predicted sums.
    """
    logits, target, class_weight, pixel_weight = ctx.saved_tensors[:4]
    gamma, ignore_index, align_corners = ctx.options
    sums = plain_focal_dice_sums(
        logits,
        target,
        gamma=gamma,
        class_weight=class_weight,
        ignore_index=ignore_index,
        pixel_weight=pixel_weight,
        align_corners=align_corners,
    )
    outputs = (sums.focal, sums.overlap, sums.predicted)
    return torch.autograd.grad(outputs, logits, (by_focal, by_overlap, by_predicted), create_graph=True)[0]


def check_labels(target: Tensor, classes: int, ignore_index: int) -> None:
    """Raise ``ValueError`` if a target is neither a class nor void, and name such values."""
    bad = (target != ignore_index) & ((target < 0) | (target >= classes))
    if bad.any():
        values = shorten(torch.unique(target[bad]).tolist())
        raise ValueError(expected("target", f"0 to {classes - 1}, or {ignore_index} for void", values))
