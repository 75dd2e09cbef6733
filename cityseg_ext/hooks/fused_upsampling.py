"""Heads hand their losses the small logits they have."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from mmengine.hooks import Hook
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import accuracy
from mmseg.registry import HOOKS
from torch import Tensor, nn

from cityseg_ext.hooks.segmentor import heads_of, losses_of, segmentor_of


@HOOKS.register_module()
class FusedUpsamplingHook(Hook):
    """Let the losses upsample the logits strip by strip, so that logits of the label's size never exist.

    mmseg's heads resize their logits to the size of the labels first: at 19 classes the largest tensor of a training
    step. ``FocalDiceLoss`` and ``WeightedCrossEntropyLoss`` do it on the way, for the same value and gradient to
    rounding. Parameters, checkpoints, validation and inference stay as they are.

    A head keeps to mmseg's way if it has a loss of another kind, a pixel sampler (OHEM needs all logits), or a
    ``loss_by_feat`` of its own; the log names the heads that do not.

    The logged ``acc_seg`` is then that of the small logits, against the labels in the centres of their cells.
    """

    def before_train(self, runner) -> None:
        """Change how heads call their losses, in this process' model only."""
        for name, head in heads_of(segmentor_of(runner.model)):
            fused = can_upsample(head)
            if fused:
                head.loss_by_feat = partial(loss_by_small_logits, head)
            runner.logger.info(f"{name}: upsampling {'inside' if fused else 'before'} the loss")


def can_upsample(head: nn.Module) -> bool:
    """Whether nothing but the losses looks at this head's logits, and all of them upsample by themselves."""
    own_way = getattr(type(head), "loss_by_feat", None) is not BaseDecodeHead.loss_by_feat
    return not own_way and head.sampler is None and all(getattr(loss, "upsamples", False) for loss in losses_of(head))


def loss_by_small_logits(head: BaseDecodeHead, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
    """``BaseDecodeHead.loss_by_feat`` without its resizing."""
    labels = head._stack_batch_gt(batch_data_samples)
    results: dict[str, Tensor] = {}
    for loss in losses_of(head):
        value = loss(
            seg_logits, labels.squeeze(1), ignore_index=head.ignore_index, align_corners=bool(head.align_corners)
        )
        results[loss.loss_name] = results.get(loss.loss_name, 0) + value
    # Class indices are exact in float32.
    centres = F.interpolate(labels.float(), seg_logits.shape[2:], mode="nearest-exact").squeeze(1).long()
    results["acc_seg"] = accuracy(seg_logits.detach(), centres, ignore_index=head.ignore_index)
    return results
