r"""The sums of the focal and the Dice term, block by block: no tensor of the size of the logits but their gradient.

The logits are walked once forward and once backward in blocks of pixels that stay in the processor's cache; the softmax
of a block is computed again in the backward pass instead of being kept. Blocks are shared out among Python threads,
and their sums are added in a fixed order: results do not depend on the number of threads.

For one pixel with true class :math:`t`, pixel weight :math:`m`, class weight :math:`w`, :math:`z = \log p_t` and
:math:`u = 1 - p_t`, let :math:`F, O_c, P_c` be the gradients of the loss by the sums ``focal``, ``overlap`` and
``predicted``. The pixel adds :math:`-m w u^\gamma z` to ``focal``, :math:`m p_t` to ``overlap[t]`` and :math:`m p_c` to
``predicted[c]``. With :math:`\partial z / \partial x_c = [c = t] - p_c` the gradient by its logits is

.. math::
    \frac{\partial L}{\partial x_c} = m\,(a\,[c = t] + p_c\,(P_c - \textstyle\sum_k P_k p_k - a)), \qquad
    a = O_t\,p_t + F\,w\,u^{\gamma - 1}(\gamma\,p_t\,z - u) .
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from cityseg_ext.functional.focal_dice_plain import check_labels, plain_gradient
from cityseg_ext.functional.logit_blocks import Buffer, LogitBlocks, blocks_of

LN2 = math.log(2)
SAFE = 2.0**60  # a sum of exponentials between this and its inverse has lost nothing that counts


class FusedFocalDiceSums(torch.autograd.Function):
    """``FusedFocalDiceSums.apply(logits, target, class_weight, pixel_weight, gamma, ignore_index, align_corners)``.

    Arguments and results are those of :func:`~cityseg_ext.functional.focal_dice.focal_dice_sums`; shapes are checked
    there. Kept for the backward pass is one number a pixel, the logarithm of the softmax' denominator. Second
    derivatives are those of the plain version.
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
        blocks = blocks_of(logits, target.shape, align_corners)
        pixels = _Pixels(target, class_weight, pixel_weight, ignore_index, blocks)
        shift = logits.new_empty(target.flatten(1).shape, dtype=blocks.dtype) if ctx.needs_input_grad[0] else None
        shifts = None if shift is None else blocks.parts(shift)
        focal = logits.new_zeros(len(blocks), dtype=torch.float64)
        overlap, predicted, actual = logits.new_zeros(3, len(blocks), blocks.classes, dtype=torch.float64)
        rows = list(zip(focal, overlap, predicted, actual, strict=True))
        without_void: list[int] = []  # blocks whose void logits are replaced: they may be huge, or not finite

        def work(index: int, buffer: Buffer) -> None:
            label, void, at_true = pixels.labels(index)
            pixels.check(label)
            exp, total, log_total, log_prob = _softmax(blocks.load(index, buffer), at_true, buffer)
            if not _is_safe(total):
                without_void.append(index)
                block = blocks.load(index, buffer).masked_fill(void, 0)
                exp, total, log_total, log_prob = _softmax(block, at_true, buffer)
                if not _is_safe(total):
                    exp, total, log_total, log_prob = _softmax(block, at_true, buffer, top=block.amax(0))
            mask = pixels.mask(index, void)
            log_prob.clamp_(max=0)  # rounding could leave it just above
            prob = log_prob.exp2()
            if shifts is not None:
                torch.where(void, pixels.never, log_total.neg_(), out=shifts[index])
            value = pixels.weigh(mask * log_prob, label)
            if gamma > 0:
                value *= _miss(prob).pow_(gamma)
            by_block = rows[index]
            by_block[0].add_(value.sum(dtype=torch.float64), alpha=-LN2)
            by_block[1].scatter_add_(0, label, prob.mul_(mask).double())
            by_block[2].copy_(torch.mv(exp, mask / total))
            by_block[3].scatter_add_(0, label, mask.double())

        _walk(blocks, work, buffers=1)
        ctx.save_for_backward(logits, target, class_weight, pixel_weight, shift)
        ctx.options, ctx.without_void = (gamma, ignore_index, align_corners), frozenset(without_void)
        focal, overlap, predicted, actual = (
            part.unflatten(0, (blocks.batch, blocks.blocks_an_image)).sum(1).to(blocks.dtype)
            for part in (focal, overlap, predicted, actual)
        )
        norm = (actual if class_weight is None else actual * class_weight.to(actual)).sum(1)
        ctx.mark_non_differentiable(norm, actual)
        return focal, norm, overlap, predicted, actual

    @staticmethod
    def backward(ctx: Any, by_focal: Tensor, _: Tensor, by_overlap: Tensor, by_predicted: Tensor, __: Tensor) -> Any:
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated
            return plain_gradient(ctx, by_focal, by_overlap, by_predicted), *[None] * 6
        logits, target, class_weight, pixel_weight, shift = ctx.saved_tensors
        gamma, ignore_index, align_corners = ctx.options
        blocks = blocks_of(logits, target.shape, align_corners)
        pixels = _Pixels(target, class_weight, pixel_weight, ignore_index, blocks)
        shifts = blocks.parts(shift)
        blocks.start_gradient()
        by_image = list(zip(by_focal, by_overlap, by_predicted, by_predicted.unsqueeze(2), strict=True))

        def work(index: int, buffer: Buffer, spare: Buffer) -> None:
            label, void, at_true = pixels.labels(index)
            focal, overlap, predicted, predicted_column = by_image[index // blocks.blocks_an_image]
            block = blocks.load(index, buffer)
            if index in ctx.without_void:
                block = block.masked_fill(void, 0)
            # The probabilities are 0 at void pixels, where the shift is minus infinity.
            exponent = torch.add(shifts[index], block, alpha=1 / LN2, out=buffer[len(label)])
            log_prob = exponent.view(-1).index_select(0, at_true).clamp_(-1e4, 0)
            probs = exponent.exp2_()
            prob = log_prob.exp2()
            by_true = overlap.index_select(0, label).mul_(prob)
            by_true += pixels.weigh(_slope(log_prob, prob, gamma), label).mul_(focal)  # `a` of the formula
            out = blocks.gradient_block(index, spare)
            torch.sub(predicted_column, torch.mv(probs.t(), predicted).add_(by_true), out=out).mul_(probs)
            out.scatter_add_(0, label[None], torch.where(void, pixels.zero, by_true)[None])
            if pixel_weight is not None:
                out.mul_(pixels.mask(index, void))
            blocks.store_gradient(index, out)

        _walk(blocks, work, buffers=2)
        return blocks.gradient(), *[None] * 6


def _softmax(
    logits: Tensor, at_true: Tensor, buffer: Buffer, top: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """exp x, or exp(x - top); its sum over classes; log2 of the sum of exp x; and log2 p of the true class.

    In powers of 2: torch's exp2 takes a third of the time of its exp on CPUs that are not Intel's. Logits are mostly
    small enough to do without their maximum, which is one walk over them less.
    """
    out = buffer[len(at_true)]
    if top is None:
        exponent = torch.mul(logits, 1 / LN2, out=out)
    else:
        top = top.mul_(1 / LN2)
        exponent = torch.sub(logits.mul(1 / LN2), top, out=out)
    log_prob = exponent.view(-1).index_select(0, at_true)
    exp = exponent.exp2_()
    total = exp.sum(0)
    log_total = total.log2()
    log_prob -= log_total
    return exp, total, log_total if top is None else log_total.add_(top), log_prob


def _is_safe(total: Tensor) -> bool:
    low, high = total.aminmax()
    return low.item() > 1 / SAFE and high.item() < SAFE


def _miss(prob: Tensor) -> Tensor:
    """1 - p of the true class; the floor keeps the slope of its powers below 1 finite."""
    return (1 - prob).clamp_min_(1e-12)


def _slope(log2_prob: Tensor, prob: Tensor, gamma: float) -> Tensor:
    """The derivative of -(1 - p)**gamma log p by log p."""
    if gamma == 0:
        return torch.full_like(prob, -1)
    miss = _miss(prob)
    slope = (log2_prob * prob).mul_(gamma * LN2).sub_(miss)
    return slope if gamma == 1 else slope.mul_(miss.pow_(gamma - 1))


class _Pixels:
    """Labels and weights of blocks of pixels."""

    def __init__(
        self,
        target: Tensor,
        class_weight: Tensor | None,
        pixel_weight: Tensor | None,
        ignore_index: int,
        blocks: LogitBlocks,
    ) -> None:
        self.target, self.ignore_index, self.classes = target, ignore_index, blocks.classes
        self.given = blocks.parts(target.flatten(1))
        self.pixel_weight = None if pixel_weight is None else blocks.parts(pixel_weight.to(blocks.dtype).flatten(1))
        self.class_weight = None if class_weight is None else class_weight.to(target.device, blocks.dtype)
        index = torch.arange(blocks.pixels, device=target.device)
        self.places = {count: index[:count] for count in blocks.new_buffer()}
        self.no_label = target.new_zeros(())
        self.zero, self.one, self.never = torch.tensor([0, 1, -math.inf], dtype=blocks.dtype, device=target.device)

    def labels(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Labels with 0 for void; where void is; and where the true class is in a flattened (C, P) block."""
        given = self.given[index]
        void = given == self.ignore_index
        label = torch.where(void, self.no_label, given).long()
        return label, void, torch.add(self.places[len(label)], label, alpha=len(label))

    def check(self, label: Tensor) -> None:
        low, high = label.aminmax()
        if low.item() < 0 or high.item() >= self.classes:
            check_labels(self.target, self.classes, self.ignore_index)  # to name them all

    def mask(self, index: int, void: Tensor) -> Tensor:
        """The pixel weights, 0 where void."""
        mask = torch.where(void, self.zero, self.one)
        return mask if self.pixel_weight is None else mask.mul_(self.pixel_weight[index])

    def weigh(self, values: Tensor, label: Tensor) -> Tensor:
        """Values times the class weight of each pixel."""
        if self.class_weight is None:
            return values
        return self.class_weight.index_select(0, label).mul_(values)


def _walk(blocks: LogitBlocks, work: Callable[..., None], buffers: int) -> None:
    """Do the work on every block, in as many threads as torch may use, each with its own buffers."""
    todo = iter(range(len(blocks)))  # shared: whoever is free takes the next one

    def worker() -> None:
        with torch.no_grad(), torch.autocast(blocks.device.type, enabled=False):
            own = [blocks.new_buffer() for _ in range(buffers)]
            for index in todo:
                work(index, *own)

    workers = min(torch.get_num_threads(), len(blocks)) if blocks.device.type == "cpu" else 1
    if workers <= 1:
        return worker()
    with _one_thread_an_operator(), ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(worker) for _ in range(workers)]:
            done.result()
    return None


@contextmanager
def _one_thread_an_operator() -> Iterator[None]:
    """New threads inherit torch's setting: operators on blocks are too short for threads of their own.

    On a busy machine these would wait for each other at every operator, for whole time slices.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
