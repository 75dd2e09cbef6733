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
from typing import Any

import torch
from torch import Tensor

from cityseg_ext.functional.block_walk import walk
from cityseg_ext.functional.focal_dice_plain import FocalDiceSums, check_labels, plain_gradient
from cityseg_ext.functional.logit_blocks import Buffer, LogitBlocks, blocks_of

LN2 = math.log(2)
SAFE = 2.0**60  # a sum of exponentials between this and its inverse has lost nothing that counts
NEVER = 1e30  # as an exponent of 2, taken away where void: no logit makes up for it
LANES = 8  # sums of neighbouring pixels, mostly of one class, that do not wait for each other


class BlockwiseFocalDiceSums(torch.autograd.Function):
    """``BlockwiseFocalDiceSums.apply(logits, target, class_weight, pixel_weight, gamma, ignore_index, align_corners)``.

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
        without_void: list[int] = []  # blocks whose void logits are replaced: they may be huge, or not finite

        def work(index: int, buffer: Buffer) -> None:
            label, at_true, mask = pixels.labels(index, check=True)
            exp, total, log_total, log_prob = _softmax(blocks.load(index, buffer), at_true)
            if not _is_safe(total, log_prob):
                without_void.append(index)
                block = blocks.load(index, buffer).masked_fill_(pixels.void(index), 0)
                exp, total, log_total, log_prob = _softmax(block, at_true)  # the same to the bit, whatever void holds
                if not _is_safe(total, log_prob):
                    block = blocks.load(index, buffer).masked_fill_(pixels.void(index), 0)
                    exp, total, log_total, log_prob = _softmax(block, at_true, top=block.amax(0))
            log_prob.clamp_(max=0)  # rounding could leave it just above
            prob = log_prob.exp2()
            if shifts is not None:
                torch.sub((mask - 1).mul_(NEVER), log_total, out=shifts[index])
            mask = pixels.weighted(mask, index)
            value = pixels.weigh(mask * log_prob, label)
            if gamma > 0:
                value *= _miss(prob).pow_(gamma)
            torch.sum(value, 0, dtype=torch.float64, out=focal[index])
            overlap[index], actual[index] = pixels.by_class(label, prob.mul_(mask), mask)
            predicted[index] = torch.mv(exp, mask / total)

        walk(blocks, work, buffers=1)
        ctx.save_for_backward(logits, target, class_weight, pixel_weight, shift)
        ctx.options, ctx.without_void = (gamma, ignore_index, align_corners), frozenset(without_void)
        results = sums_of_images(blocks, focal, overlap, predicted, actual, class_weight)
        ctx.mark_non_differentiable(results.norm, results.actual)
        return results

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
            label, at_true, mask = pixels.labels(index)
            focal, overlap, predicted, predicted_column = by_image[index // blocks.blocks_an_image]
            exponent = blocks.load(index, buffer, shifts[index])
            if index in ctx.without_void:
                exponent.masked_fill_(pixels.void(index), -math.inf)
            # The probabilities are 0 at void pixels, where the shift is -NEVER.
            log_prob = exponent.view(-1).index_select(0, at_true).clamp_(-1e4, 0)
            probs = exponent.exp2_()
            prob = log_prob.exp2()
            by_true = overlap.index_select(0, label).mul_(prob)
            by_true += pixels.weigh(_slope(log_prob, prob, gamma), label).mul_(focal)  # `a` of the formula
            out = spare[len(label)]
            torch.sub(predicted_column, torch.mv(probs.t(), predicted).add_(by_true), out=out).mul_(probs)
            out.view(-1).scatter_add_(0, at_true.long(), by_true.mul_(mask))
            if pixel_weight is not None:
                out.mul_(pixels.weighted(mask, index))
            blocks.store_gradient(index, out)

        walk(blocks, work, buffers=2)
        return blocks.gradient(), *[None] * 6


def sums_of_images(
    blocks: LogitBlocks, focal: Tensor, overlap: Tensor, predicted: Tensor, actual: Tensor, class_weight: Tensor | None
) -> FocalDiceSums:
    """Those of blocks (B, ...), float64, added up; the focal ones are negative, and in bits."""
    focal, overlap, predicted, actual = (
        part.unflatten(0, (blocks.batch, blocks.blocks_an_image)).sum(1).to(blocks.dtype)
        for part in (focal * -LN2, overlap, predicted, actual)
    )
    norm = (actual if class_weight is None else actual * class_weight.to(actual)).sum(1)
    return FocalDiceSums(focal, norm, overlap, predicted, actual)


def _softmax(exponent: Tensor, at_true: Tensor, top: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """2**x, or 2**(x - top), in place of the exponents x; its sum over classes; log2 of the sum of 2**x; log2 p_t.

    Logits are mostly small enough to do without their maximum, which is one walk over them less.
    """
    if top is not None:
        exponent -= top
    log_prob = exponent.view(-1).index_select(0, at_true)
    exp = exponent.exp2_()
    total = exp.sum(0)
    log_total = total.log2()
    log_prob -= log_total
    return exp, total, log_total if top is None else log_total.add_(top), log_prob


def _is_safe(total: Tensor, log_prob: Tensor) -> bool:
    """Whether nothing is lost, and nothing infinite, at void pixels either."""
    low, high = total.aminmax()
    return low.item() > 1 / SAFE and high.item() < SAFE and log_prob.amin().item() > -math.inf


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
        self.target, self.ignore_index, self.classes, self.dtype = target, ignore_index, blocks.classes, blocks.dtype
        self.given = blocks.parts(target.flatten(1))
        self.pixel_weight = None if pixel_weight is None else blocks.parts(pixel_weight.to(blocks.dtype).flatten(1))
        self.class_weight = None if class_weight is None else class_weight.to(target.device, blocks.dtype)
        # Twice as fast as 64 bits, where void and places fit in; labels that do not are found by the check.
        fits = max(abs(ignore_index), blocks.classes * blocks.pixels) <= torch.iinfo(torch.int32).max
        self.integer = torch.int32 if fits else torch.int64
        index = torch.arange(blocks.pixels, dtype=self.integer, device=target.device)
        self.places = {count: index[:count] for count in blocks.new_buffer()}
        self.lane_of = index % LANES * blocks.classes

    def labels(self, index: int, check: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Labels, 0 for void; where the true class is in a flattened (C, P) block; and a mask, 0 where void, else 1.

        By arithmetic, which torch vectorises: comparing to booleans, and choosing by them, takes thrice as long.
        """
        given = self.given[index]
        short = given.to(self.integer)
        labelled = torch.ne(short, self.ignore_index, out=torch.empty_like(short))
        label = short * labelled
        if check:
            low, high = label.aminmax()
            lowest, highest = given.aminmax() if given.itemsize > short.itemsize else (low, high)
            wrapped = lowest.item() < -(2**31) or highest.item() >= 2**31
            if wrapped or low.item() < 0 or high.item() >= self.classes:
                check_labels(self.target, self.classes, self.ignore_index)  # to name them all
        at_true = torch.add(self.places[len(label)], label, alpha=len(label))
        return label, at_true, labelled.to(self.dtype)

    def by_class(self, label: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """Sums of values over the pixels of each class."""
        lanes = (self.lane_of[: len(label)] + label).long()
        sums = torch.zeros(len(values), LANES * self.classes, dtype=torch.float64, device=label.device)
        for by_lane, value in zip(sums, values, strict=True):
            by_lane.scatter_add_(0, lanes, value.double())
        return sums.unflatten(1, (LANES, self.classes)).sum(1).unbind()

    def void(self, index: int) -> Tensor:
        """Where a block is void, as booleans."""
        return self.given[index] == self.ignore_index

    def weighted(self, mask: Tensor, index: int) -> Tensor:
        """The pixel weights, 0 where void."""
        return mask if self.pixel_weight is None else mask * self.pixel_weight[index]

    def weigh(self, values: Tensor, label: Tensor) -> Tensor:
        """Values times the class weight of each pixel."""
        if self.class_weight is None:
            return values
        return self.class_weight.index_select(0, label).mul_(values)
