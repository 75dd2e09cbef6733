"""The registered face of ``functional.focal_dice``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from mmengine.dist import get_world_size
from mmseg.registry import MODELS
from torch import Tensor, nn

from cityseg_ext.checks import check_at_least, check_choice, expected
from cityseg_ext.functional.class_statistics import WEIGHTINGS
from cityseg_ext.functional.focal_dice import (
    ABSENT_POLICIES,
    DICE_POOLS,
    FocalDice,
    FocalDiceSums,
    focal_dice_from_sums,
    focal_dice_sums,
)
from cityseg_ext.labels import IGNORE_INDEX
from cityseg_ext.losses.class_weight import read_class_weight
from cityseg_ext.losses.rank_sum import RankSum


@MODELS.register_module()
class FocalDiceLoss(nn.Module):
    """Weighted sum of a focal and a Dice loss on softmax logits; void pixels do nothing at all.

    The definition, and what happens to absent classes, is in
    :func:`~cityseg_ext.functional.focal_dice.focal_dice`. After each call :attr:`parts` holds both terms, which
    ``LossPartsHook`` writes to the log as ``decode.focal`` and ``decode.dice``: names without "loss", because mmengine
    adds up whatever is called so.

    Args:
        focal_weight: factor of the focal term, at least 0.
        dice_weight: factor of the Dice term, at least 0.
        gamma: focusing exponent of the focal term, at least 0.
        class_weight: one weight a class, at least 0; or a JSON file from ``tools/check_dataset.py``:
            ``class_weights_<name>.json``, or ``stats.json``, which stands for its ENet weights; or None. Configs may
            say ``'enet'``, ``'median_freq'`` or ``'effective'``: ``tools/train.py`` then counts the training labels.
        ignore_index: the value of void pixels.
        dice_pool: ``'batch'`` or ``'image'``.
        absent: ``'skip'`` or ``'count'``.
        smooth: smoothing constant of the Dice term in pixels, at least 0.
        sync_ranks: where several processes train, take the loss of all their pixels together, as one process would with
            all their images: value and gradient do not depend on how images are shared out. One exchange of 2 + 3C
            numbers a step. False: each process takes the loss of its own images, and gradients are averaged.
        loss_weight: factor of the whole, as mmseg's losses have it (0.4 for auxiliary heads).
        loss_name: the name in the log; must start with ``loss_``, or mmengine would not train on it.

    Raises:
        FileNotFoundError: if ``class_weight`` names no file.
        ValueError: if an option is out of range, or the file of class weights holds something else.

    Example:
        >>> loss = FocalDiceLoss(class_weight=[1.0, 2.0])
        >>> loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)).ndim
        0
    """

    upsamples = True  # takes ``align_corners``

    def __init__(
        self,
        focal_weight: float = 1.5,
        dice_weight: float = 1.0,
        gamma: float = 2.0,
        class_weight: Sequence[float] | str | None = None,
        ignore_index: int = IGNORE_INDEX,
        dice_pool: str = "batch",
        absent: str = "skip",
        smooth: float = 1.0,
        sync_ranks: bool = True,
        loss_weight: float = 1.0,
        loss_name: str = "loss_focaldice",
    ) -> None:
        super().__init__()
        for name, value in (
            ("focal_weight", focal_weight),
            ("dice_weight", dice_weight),
            ("gamma", gamma),
            ("smooth", smooth),
            ("loss_weight", loss_weight),
        ):
            check_at_least(name, value, 0)
        check_choice("dice_pool", dice_pool, DICE_POOLS)
        check_choice("absent", absent, ABSENT_POLICIES)
        if not loss_name.startswith("loss_"):
            raise ValueError(expected("loss_name", "a name that starts with 'loss_'", repr(loss_name)))
        # A weighting by name is no error until it is used: inference builds the loss too, and needs no weights.
        self.weighting = class_weight if isinstance(class_weight, str) and class_weight in WEIGHTINGS else None
        if self.weighting is not None:
            class_weight = None
        elif isinstance(class_weight, str):
            class_weight = read_class_weight(class_weight)
        for index, weight in enumerate(() if class_weight is None else class_weight):
            check_at_least(f"class_weight[{index}]", weight, 0)
        self.focal_weight = focal_weight
        self.dice_weight = dice_weight
        self.gamma = gamma
        self.ignore_index = ignore_index
        self.dice_pool = dice_pool
        self.absent = absent
        self.smooth = smooth
        self.sync_ranks = sync_ranks
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        # A buffer moves with the model; it is not saved, so that checkpoints keep mmseg's keys.
        weights = None if class_weight is None else torch.tensor(list(class_weight), dtype=torch.float32)
        self.register_buffer("class_weight", weights, persistent=False)
        self.parts: dict[str, Tensor] = {}

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        align_corners: bool | None = None,
    ) -> Tensor:
        """The loss of one batch; in training, of all processes' batches, if ``sync_ranks`` says so.

        Args:
            cls_score: (N, C, H, W) logits.
            label: (N, H, W) class indices, or ``ignore_index``.
            weight: (N, H, W) weights of single pixels, as mmseg's pixel samplers give them.
            ignore_index: what the decode head calls void; must agree with the loss.
            align_corners: if not None, ``cls_score`` may be smaller than ``label`` and is upsampled on the way, as
                ``F.interpolate`` does it with this option; ``FusedUpsamplingHook`` makes use of it.

        Returns:
            Scalar tensor.

        Raises:
            ValueError: if ``ignore_index`` disagrees, shapes do not fit, a label is out of range, or class weights have
                a name but were not counted.
        """
        if ignore_index is not None and ignore_index != self.ignore_index:
            raise ValueError(expected("ignore_index", f"{self.ignore_index}, as FocalDiceLoss was given", ignore_index))
        together = self.sync_ranks and self.training and get_world_size() > 1
        sums = self.sums(cls_score, label, weight, align_corners)
        loss = self.from_sums(sums, add_ranks=RankSum.apply if together else None)
        self.parts = {"focal": loss.focal.detach(), "dice": loss.dice.detach()}
        return loss.total

    def sums(
        self, cls_score: Tensor, label: Tensor, weight: Tensor | None = None, align_corners: bool | None = None
    ) -> FocalDiceSums:
        """The sums over pixels that the loss is made of; they add up over images, batches and ranks."""
        if self.weighting is not None:
            cure = "Train with tools/train.py, which counts the classes; or give a file of tools/check_dataset.py."
            raise ValueError(expected("class_weight", "numbers or a file by now", repr(self.weighting), cure))
        return focal_dice_sums(
            cls_score,
            label,
            gamma=self.gamma,
            class_weight=self.class_weight,
            ignore_index=self.ignore_index,
            pixel_weight=weight,
            align_corners=align_corners,
        )

    def from_sums(self, sums: FocalDiceSums, add_ranks: Callable[[Tensor], Tensor] | None = None) -> FocalDice:
        """The loss that follows from such sums; ``add_ranks`` adds those of other processes."""
        loss = focal_dice_from_sums(
            sums,
            focal_weight=self.focal_weight,
            dice_weight=self.dice_weight,
            class_weight=self.class_weight,
            dice_pool=self.dice_pool,
            absent=self.absent,
            smooth=self.smooth,
            add_ranks=add_ranks,
        )
        return loss._replace(total=self.loss_weight * loss.total)

    def extra_repr(self) -> str:
        return (
            f"focal_weight={self.focal_weight}, dice_weight={self.dice_weight}, gamma={self.gamma}, "
            f"dice_pool={self.dice_pool!r}, absent={self.absent!r}, sync_ranks={self.sync_ranks}, "
            f"loss_weight={self.loss_weight}"
        )
