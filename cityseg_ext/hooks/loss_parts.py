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

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Write the values of this iteration to the message hub."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for path, module in model.named_modules():
            head = path.split(".")[0].removesuffix("_head").replace("auxiliary", "aux")
            for name, value in getattr(module, "parts", {}).items():
                runner.message_hub.update_scalar(f"train/{head}.{name}", value.item())
