"""The sums of the focal and the Dice term by loops that Numba compiles, for CPUs.

As in :mod:`~cityseg_ext.functional.focal_dice_blocks`, logits are walked once each way in blocks that are shared out
among Python threads, the softmax is computed again in the backward pass, and results do not depend on the number of
threads. But what that version does in a hundred operators on a block, loops do at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cityseg_ext.functional.block_walk import walk
from cityseg_ext.functional.focal_dice_blocks import sums_of_images
from cityseg_ext.functional.focal_dice_plain import check_labels, plain_gradient
from cityseg_ext.functional.logit_blocks import Buffer, LogitBlocks, blocks_of


class Pixels(NamedTuple):
    """What loops are told of the pixels of a block, and of classes.

    Attributes:
        target: (P,) int64 labels.
        weight: (P,) of pixels, or (0,) if they have none.
        class_weight: (C,)
        void: the label of void pixels.
        gamma: of the focal term.
        log_total: (P,) log2 of the softmax' denominators: written on the way forward, read on the way back.
    """

    target: Tensor
    weight: Tensor
    class_weight: Tensor
    void: int
    gamma: np.float32
    log_total: Tensor


def numba_can_run(logits: Tensor) -> bool:
    """Whether there are loops for these logits: with Numba, on a CPU, in 32 bits or fewer."""
    return logits.device.type == "cpu" and logits.dtype != torch.float64 and _is_installed()


class NumbaFocalDiceSums(torch.autograd.Function):
    """``NumbaFocalDiceSums.apply(logits, target, class_weight, pixel_weight, gamma, ignore_index, align_corners)``.

    Arguments and results are those of :func:`~cityseg_ext.functional.focal_dice.focal_dice_sums`; shapes are checked
    there. Kept for the backward pass is one number a pixel. Second derivatives are those of the plain version.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        class_weight: Tensor | None,
        pixel_weight: Tensor | None,
        gamma: float,
        ignore_index: int,
        align_corners: bool | None,
    ) -> tuple[Tensor, ...]:
        blocks = blocks_of(logits, target.shape, align_corners, for_loops=True)
        log_total = torch.empty_like(target, dtype=torch.float32, memory_format=torch.contiguous_format)
        pixels = _pixels(blocks, target, class_weight, pixel_weight, gamma, ignore_index, log_total)
        loops = _loops()
        sums = torch.zeros(len(blocks), 2 + 2 * loops.LANES, blocks.classes, dtype=torch.float64)

        def work(index: int, *buffer: Buffer) -> None:
            memory = torch.empty(loops.SCRATCH + blocks.classes, loops.CHUNK).numpy()  # begins where a cache line does
            rows = _arrays(blocks.rows(index, *buffer))
            if loops.block_sums(rows, _arrays(pixels(index)), memory, sums[index].numpy()):
                check_labels(target, blocks.classes, ignore_index)  # to name them

        walk(blocks, work, buffers=int(blocks.rows_need_buffer))
        ctx.save_for_backward(logits, target, class_weight, pixel_weight, log_total)
        ctx.options = (gamma, ignore_index, align_corners)
        predicted, focal = sums[:, 0], sums[:, 1, 0]
        overlap, actual = sums[:, 2:].unflatten(1, (2, loops.LANES)).sum(2).unbind(1)
        results = sums_of_images(blocks, focal, overlap, predicted, actual, class_weight)
        ctx.mark_non_differentiable(results.norm, results.actual)
        return results

    @staticmethod
    def backward(ctx: Any, by_focal: Tensor, _: Tensor, by_overlap: Tensor, by_predicted: Tensor, __: Tensor) -> Any:
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated
            return plain_gradient(ctx, by_focal, by_overlap, by_predicted), *[None] * 6
        logits, target, class_weight, pixel_weight, log_total = ctx.saved_tensors
        gamma, ignore_index, align_corners = ctx.options
        blocks = blocks_of(logits, target.shape, align_corners, for_loops=True)
        pixels = _pixels(blocks, target, class_weight, pixel_weight, gamma, ignore_index, log_total)
        by_sums = [part.contiguous().numpy() for part in (by_focal, by_overlap, by_predicted)]
        blocks.start_gradient()
        loops = _loops()

        def work(index: int, *buffer: Buffer) -> None:
            memory = torch.empty(loops.SCRATCH + blocks.classes, loops.CHUNK).numpy()  # begins where a cache line does
            rows = blocks.rows(index, *buffer)
            gradient = blocks.gradient_rows(index, rows)
            of_image = [part[index // blocks.blocks_an_image] for part in by_sums]
            loops.block_gradient(_arrays(rows), _arrays(pixels(index)), memory, *of_image, gradient.numpy())
            blocks.store_gradient_rows(index, gradient)

        walk(blocks, work, buffers=int(blocks.rows_need_buffer))
        return blocks.gradient(), *[None] * 6


def _pixels(
    blocks: LogitBlocks,
    target: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    gamma: float,
    ignore_index: int,
    log_total: Tensor,
) -> Callable[[int], Pixels]:
    """What loops are told, by number of the block."""
    class_weight = torch.ones(blocks.classes) if class_weight is None else class_weight.cpu().float().contiguous()
    no_weights = [torch.empty(0)] * len(blocks)
    weights = no_weights if pixel_weight is None else blocks.parts(pixel_weight.float().flatten(1))
    labels, totals = (blocks.parts(images.flatten(1)) for images in (target, log_total))

    def of_block(index: int) -> Pixels:
        rest = class_weight, ignore_index, np.float32(gamma), totals[index]
        return Pixels(labels[index].long(), weights[index], *rest)

    return of_block


def _arrays(given: Any) -> Any:
    """A named tuple with arrays for tensors, of the same memory."""
    return given._make(part.numpy() if isinstance(part, Tensor) else part for part in given)


@cache
def _is_installed() -> bool:
    return find_spec("numba") is not None


@cache
def _loops() -> ModuleType:
    """The compiled loops: Numba takes half a second to import, for which nobody waits who does not train."""
    return import_module("cityseg_ext.functional.focal_dice_loops")
