"""The terms of a composed loss, in the log."""

from __future__ import annotations

import math

from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from cityseg_ext.hooks.segmentor import segmentor_of


@HOOKS.register_module()
class LossPartsHook(Hook):
    """Log what each loss with a ``parts`` attribute is made of, as ``decode.focal``, ``aux.dice`` and so on.

    The names avoid the word "loss": mmengine adds up whatever has it, and the terms would count twice.
    """

    priority = "VERY_HIGH"  # before LoggerHook reads the values

    def before_train(self, runner) -> None:
        """Find the losses that have parts, and name them after their head."""
        self.losses = {
            _head_name(path): module
            for path, module in segmentor_of(runner.model).named_modules()
            if hasattr(module, "parts")
        }

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Write the values of this iteration to the message hub."""
        for head, loss in self.losses.items():
            for name, value in loss.parts.items():
                number = value.item()
                if math.isfinite(number):  # NaN would spoil the running mean; FiniteGuardHook tells of it
                    runner.message_hub.update_scalar(f"train/{head}.{name}", number)


def _head_name(path: str) -> str:
    """``decode`` for ``decode_head.loss_decode``, ``aux_1`` for ``auxiliary_head.1.loss_decode``, as mmseg has it."""
    head, *inside = path.split(".")
    numbers = [part for part in inside if part.isdigit()]
    return "_".join([head.removesuffix("_head").replace("auxiliary", "aux"), *numbers])
