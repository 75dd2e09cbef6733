"""The memory layout that convolutions are fastest in."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep weights in ``channels_last`` order; activations follow them.

    The results are the same to rounding. Checkpoints are not affected.
    """

    def before_run(self, runner) -> None:
        """Convert the model, before training, validation and test alike."""
        runner.model.to(memory_format=torch.channels_last)
