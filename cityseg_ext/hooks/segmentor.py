"""Where the segmentor is when something is wrapped around it."""

from __future__ import annotations

from torch import nn


def segmentor_of(model: nn.Module) -> nn.Module:
    """The segmentor inside wrappers for several processes and for test-time augmentation."""
    while hasattr(model, "module") and not hasattr(model, "decode_head"):
        model = model.module
    return model
