"""Mixed precision that needs neither a GPU nor loss scaling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward passes in bfloat16 where PyTorch's autocast thinks it safe; weights and their updates stay float32.

    bfloat16 has the range of float32, so that no gradient underflows and nothing is scaled, unlike in
    ``AmpOptimWrapper``, which also asks for a GPU. Processors with AVX-512 BF16 or AMX, Apple's, and GPUs from NVIDIA's
    Ampere on compute faster in it.

    Args:
        options: as for mmengine's ``OptimWrapper``.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> wrapper = BFloat16OptimWrapper(optimizer=torch.optim.SGD([weight], lr=0.1))
        >>> with wrapper.optim_context(torch.nn.Identity()):
        ...     (weight @ weight).dtype
        torch.bfloat16
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Wrap one forward pass; see mmengine's ``OptimWrapper``."""
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
