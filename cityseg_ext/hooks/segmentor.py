"""Where the segmentor, its heads and their losses are."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def segmentor_of(model: nn.Module) -> nn.Module:
    """The segmentor inside wrappers for several processes and for test-time augmentation."""
    while hasattr(model, "module") and not hasattr(model, "decode_head"):
        model = model.module
    return model


def heads_of(segmentor: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Decode and auxiliary heads, each with the name of the config field it is from."""
    for name in ("decode_head", "auxiliary_head"):
        head = getattr(segmentor, name, None)
        for part in head if isinstance(head, nn.ModuleList) else [head]:
            if part is not None:
                yield name, part


def losses_of(head: nn.Module) -> list[nn.Module]:
    """All losses of a head."""
    loss = head.loss_decode
    return list(loss) if isinstance(loss, nn.ModuleList) else [loss]
