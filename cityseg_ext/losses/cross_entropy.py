"""Cross-entropy with class weights that works where void pixels are."""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.registry import MODELS

from cityseg_ext.labels import IGNORE_INDEX
from cityseg_ext.losses.focal_dice import FocalDiceLoss


@MODELS.register_module()
class WeightedCrossEntropyLoss(FocalDiceLoss):
    """Mean cross-entropy of the labelled pixels, weighted by class.

    It equals ``torch.nn.functional.cross_entropy(logits, target, weight, ignore_index=...)``, and is 0 where that is
    NaN: in a batch without any labelled pixel. mmseg's ``CrossEntropyLoss`` with class weights raises an IndexError on
    void pixels (1.2.2 always, 1.4.2 with ``avg_non_ignore=True``). It is :class:`FocalDiceLoss` with gamma 0 and no
    Dice, so that the validation loss is pooled over the whole data set too.

    Args:
        class_weight: as in :class:`FocalDiceLoss`.
        ignore_index: the value of void pixels.
        sync_ranks: as in :class:`FocalDiceLoss`: the mean is over the labelled pixels of all processes.
        loss_weight: factor of the whole (0.4 for auxiliary heads).
        loss_name: the name in the log; must start with ``loss_``.

    Raises:
        FileNotFoundError: if ``class_weight`` names no file.
        ValueError: if an option is out of range, or the file of class weights holds something else.

    Example:
        >>> import torch
        >>> loss = WeightedCrossEntropyLoss(class_weight=[1.0, 2.0])
        >>> round(loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)).item(), 4)
        0.6931
    """

    def __init__(
        self,
        class_weight: Sequence[float] | str | None = None,
        ignore_index: int = IGNORE_INDEX,
        sync_ranks: bool = True,
        loss_weight: float = 1.0,
        loss_name: str = "loss_ce",
    ) -> None:
        super().__init__(
            focal_weight=1.0,
            dice_weight=0.0,
            gamma=0.0,
            class_weight=class_weight,
            ignore_index=ignore_index,
            sync_ranks=sync_ranks,
            loss_weight=loss_weight,
            loss_name=loss_name,
        )
