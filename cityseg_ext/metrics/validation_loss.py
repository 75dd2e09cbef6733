"""The training loss on the validation set, without a second forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS
from torch import Tensor, nn

from cityseg_ext.checks import expected
from cityseg_ext.functional.focal_dice import FocalDiceSums
from cityseg_ext.labels import IGNORE_INDEX
from cityseg_ext.metrics.samples import field, sample_key, unique_by_key


@METRICS.register_module()
class ValidationLoss(BaseMetric):
    """The decode head's own loss over the whole data set, from the logits that the evaluator receives anyway.

    The loss is taken at the size of the ground truth, with the weights as validated, and reported as ``val/loss``, so
    that schedulers, early stopping and ``save_best`` can monitor it. Auxiliary heads take no part: they do not run in
    validation.

    For a loss with the methods ``sums`` and ``from_sums`` (``FocalDiceLoss``) the sums of all images are added before
    the loss is computed: the value is that of one batch with all images, whatever the batch size, the order or the
    number of ranks, and its two terms are reported as ``val/focal`` and ``val/dice``. Any other mmseg loss is averaged
    over images, weighted by labelled pixels, which is exact for losses that are means over labelled pixels.

    Args:
        ignore_index: the value of void pixels.
        collect_device, prefix, collect_dir: as in mmengine's ``BaseMetric``.

    Raises:
        ValueError: when used, if :meth:`bind` was not called (``PreflightHook`` does it), or if the model keeps no
            logits.
    """

    default_prefix = "val"

    def __init__(
        self,
        ignore_index: int = IGNORE_INDEX,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.ignore_index = ignore_index
        self.losses: list[nn.Module] = []

    def bind(self, losses: Sequence[nn.Module]) -> None:
        """Say which losses are meant: the modules that the decode head trains with."""
        self.losses = list(losses)

    def metric_names(self) -> list[str]:
        """All names that the result can have: what a ``monitor`` or ``save_best`` may be."""
        parts = ["focal", "dice"] if any(hasattr(loss, "sums") for loss in self.losses) else []
        return [f"{self.prefix}/{name}" for name in ("loss", *parts)]

    @torch.no_grad()
    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take the loss' sums of one batch; see mmengine's ``BaseMetric``."""
        if not self.losses:
            raise ValueError(
                expected(
                    "losses", "bound to the decode head's", "none", "Add dict(type='PreflightHook') to custom_hooks."
                )
            )
        for sample in data_samples:
            logits = field(sample, "seg_logits")[None].float()
            target = field(sample, "gt_sem_seg").to(logits.device).reshape(1, *logits.shape[2:])
            terms = [self._term(loss, logits, target) for loss in self.losses]
            self.results.append((sample_key(sample), terms))

    def _term(self, loss: nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, ...] | Tensor:
        if hasattr(loss, "sums"):
            return tuple(part.cpu() for part in loss.sums(logits, target))
        labelled = (target != self.ignore_index).sum().double()
        if labelled == 0:
            return torch.zeros(2, dtype=torch.float64)
        value = loss(logits, target, ignore_index=self.ignore_index).double()
        return torch.stack([value * labelled, labelled]).cpu()

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The loss of the whole data set; see mmengine's ``BaseMetric``."""
        per_image = list(unique_by_key(results).values())
        metrics = {"loss": 0.0}
        for loss, terms in zip(self.losses, zip(*per_image, strict=True), strict=True):
            if hasattr(loss, "sums"):
                pooled = FocalDiceSums(*(torch.cat(part).double() for part in zip(*terms, strict=True)))
                value = loss.from_sums(pooled)
                metrics["loss"] += float(value.total)
                metrics["focal"], metrics["dice"] = float(value.focal), float(value.dice)
            else:
                total, labelled = torch.stack(terms).sum(0).tolist()
                metrics["loss"] += total / max(labelled, 1)
        return metrics
