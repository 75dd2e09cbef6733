"""Sums over all processes of a run, with the gradient that data parallel training needs."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class RankSum(torch.autograd.Function):
    r"""``RankSum.apply(part)``: the sum of every rank's ``part``, equal to the last bit on all of them.

    With the local sums :math:`s_r(\theta)` of W ranks, a loss of all their pixels is
    :math:`L = f(S),\ S = \sum_r s_r`, and its gradient is :math:`\sum_r f'(S)\, \partial s_r / \partial \theta`. Each
    rank can compute its own summand only. DDP and FSDP then take the **mean** over ranks, so that each must hand over
    :math:`W` times its summand: the backward pass multiplies by the number of ranks, and talks to nobody.

    All ranks must call it equally often: it waits for them.

    Example:
        >>> _ = dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
        >>> RankSum.apply(torch.ones(2))
        tensor([1., 1.])
        >>> dist.destroy_process_group()
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, by_total: Tensor) -> Tensor:
        return by_total * dist.get_world_size()
