"""The terms of a composed loss, in the log."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.registry import HOOKS


@HOOKS.register_module()
class LossPartsHook(Hook):
    """Log what each loss with a ``parts`` attribute is made of, as ``decode.focal``, ``aux.dice`` and so on.

    The names avoid the word "loss": mmengine adds up whatever has it, and the terms would count twice.
    """

    priority = "VERY_HIGH"  # before LoggerHook reads the values

    def before_train(self, runner) -> None:
        """Find the losses that have parts, and name them after their head."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.losses = {
            path.split(".")[0].removesuffix("_head").replace("auxiliary", "aux"): module
            for path, module in model.named_modules()
            if hasattr(module, "parts")
        }

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Write the values of this iteration to the message hub."""
        for head, loss in self.losses.items():
            for name, value in loss.parts.items():
                runner.message_hub.update_scalar(f"train/{head}.{name}", value.item())
