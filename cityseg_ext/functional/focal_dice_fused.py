r"""The sums of the focal and the Dice term, block by block: no tensor of the size of the logits but their gradient.

The logits are walked once forward and once backward in blocks of pixels that stay in the processor's cache; the softmax
of a block is computed again in the backward pass instead of being kept. Blocks are shared out among Python threads,
and their sums are added in a fixed order: results do not depend on the number of threads.

For one pixel with true class :math:`t`, pixel weight :math:`m`, focal weight :math:`w`, :math:`z = \log p_t` and
:math:`u = 1 - p_t`, let :math:`F, O_c, P_c` be the gradients of the loss by the sums ``focal``, ``overlap`` and
``predicted``. The pixel adds :math:`-w u^\gamma z` to ``focal``, :math:`m p_t` to ``overlap[t]`` and :math:`m p_c` to
``predicted[c]``. With :math:`\partial z / \partial x_c = [c = t] - p_c` the gradient by its logits is

.. math::
    \frac{\partial L}{\partial x_c} = a\,([c = t] - p_c) + m\,p_c\,(P_c - \textstyle\sum_k P_k p_k), \qquad
    a = -F\,w\,u^{\gamma - 1}(u - \gamma\,p_t\,z) + O_t\,m\,p_t .
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cityseg_ext.functional.focal_dice_plain import FocalDiceSums, check_labels, plain_focal_dice_sums
from cityseg_ext.functional.logit_blocks import LogitBlocks, blocks_of

LN2 = math.log(2)


class FusedFocalDiceSums(torch.autograd.Function):
    """``FusedFocalDiceSums.apply(logits, target, class_weight, pixel_weight, gamma, ignore_index, align_corners)``.

    Arguments and results are those of :func:`~cityseg_ext.functional.focal_dice.focal_dice_sums`; inputs are checked
    there. Second derivatives are taken of the plain version.
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
    ) -> FocalDiceSums:
        ctx.save_for_backward(logits, target, class_weight, pixel_weight)
        ctx.options = gamma, ignore_index, align_corners
        blocks = blocks_of(logits, target.shape[1:], align_corners)
        pixels = _Pixels(target, class_weight, pixel_weight, gamma, ignore_index, blocks)
        focal = logits.new_zeros(len(blocks), dtype=torch.float64)
        overlap, predicted, actual = logits.new_zeros(3, len(blocks), logits.shape[1], dtype=torch.float64)

        def work(index: int, buffer: Tensor) -> None:
            block = pixels.read(index, buffer)
            focal[index] = block.focal(gamma).sum(dtype=torch.float64)
            overlap[index].scatter_add_(0, block.label, (block.prob_true * block.mask).double())
            actual[index].scatter_add_(0, block.label, block.mask.double())
            predicted[index] = torch.mv(block.exp, block.mask / block.total)

        _walk(blocks, work, buffers=1)
        focal, overlap, predicted, actual = (
            part.unflatten(0, (blocks.batch, -1)).sum(1).to(blocks.dtype)
            for part in (focal, overlap, predicted, actual)
        )
        norm = (actual if class_weight is None else actual * class_weight.to(actual)).sum(1)
        ctx.mark_non_differentiable(norm, actual)
        return FocalDiceSums(focal, norm, overlap, predicted, actual)

    @staticmethod
    def backward(ctx: Any, by_focal: Tensor, _: Tensor, by_overlap: Tensor, by_predicted: Tensor, __: Tensor) -> Any:
        logits, target, class_weight, pixel_weight = ctx.saved_tensors
        gamma, ignore_index, align_corners = ctx.options
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated
            return _plain_gradient(ctx, by_focal, by_overlap, by_predicted), *[None] * 6
        blocks = blocks_of(logits, target.shape[1:], align_corners)
        pixels = _Pixels(target, class_weight, pixel_weight, gamma, ignore_index, blocks)
        blocks.start_gradient()

        def work(index: int, buffer: Tensor, spare: Tensor) -> None:
            image, _ = blocks.place(index)
            block = pixels.read(index, buffer)
            by_true = by_focal[image] * block.focal_slope(gamma)  # `a` of the formula
            by_true += by_overlap[image][block.label] * block.mask * block.prob_true
            share = block.mask / block.total
            mean = torch.mv(block.exp.t(), by_predicted[image]).mul_(share)
            offset = mean.add_(by_true).div_(block.total).neg_()
            out = blocks.gradient_block(index, spare)
            torch.addcmul(offset, by_predicted[image][:, None], share, out=out).mul_(block.exp)
            out.scatter_add_(0, block.label[None], by_true[None])
            blocks.store_gradient(index, out)

        _walk(blocks, work, buffers=2)
        return blocks.gradient(), *[None] * 6


def _plain_gradient(ctx: Any, by_focal: Tensor, by_overlap: Tensor, by_predicted: Tensor) -> Tensor:
    logits, target, class_weight, pixel_weight = ctx.saved_tensors
    gamma, ignore_index, align_corners = ctx.options
    sums = plain_focal_dice_sums(
        logits,
        target,
        gamma=gamma,
        class_weight=class_weight,
        ignore_index=ignore_index,
        pixel_weight=pixel_weight,
        align_corners=align_corners,
    )
    outputs = (sums.focal, sums.overlap, sums.predicted)
    return torch.autograd.grad(outputs, logits, (by_focal, by_overlap, by_predicted), create_graph=True)[0]


class _Block(NamedTuple):
    """What both passes need of P pixels; all (P,) but ``exp``."""

    exp: Tensor  # (C, P) exp(x - max x)
    total: Tensor  # sum of exp over classes
    label: Tensor  # int64, 0 where void
    mask: Tensor  # pixel weight, 0 where void
    weight: Tensor  # mask times class weight
    log_prob: Tensor  # log p of the true class
    prob_true: Tensor

    def focal(self, gamma: float) -> Tensor:
        value = self.weight * self.log_prob
        return -(value if gamma == 0 else value * self.miss**gamma)

    def focal_slope(self, gamma: float) -> Tensor:
        """The derivative of :meth:`focal` by ``log_prob``."""
        if gamma == 0:
            return -self.weight
        slope = self.miss - gamma * self.prob_true * self.log_prob
        return -self.weight * self.miss ** (gamma - 1) * slope

    @property
    def miss(self) -> Tensor:
        """1 - p of the true class, as the plain version has it."""
        return torch.expm1(self.log_prob).neg_().clamp_min_(1e-12)


class _Pixels:
    """Reads blocks of pixels: their labels, weights and softmax."""

    def __init__(
        self,
        target: Tensor,
        class_weight: Tensor | None,
        pixel_weight: Tensor | None,
        gamma: float,
        ignore_index: int,
        blocks: LogitBlocks,
    ) -> None:
        self.blocks, self.target, self.ignore_index = blocks, target, ignore_index
        self.labels = target.flatten(1)
        self.pixel_weight = None if pixel_weight is None else pixel_weight.to(blocks.dtype).flatten(1)
        self.class_weight = None if class_weight is None else class_weight.to(target.device, blocks.dtype)
        self.index = torch.arange(blocks.pixels, device=target.device)

    def read(self, index: int, buffer: Tensor) -> _Block:
        image, part = self.blocks.place(index)
        label = self.labels[image, part]
        void = label == self.ignore_index
        label = label.masked_fill(void, 0).long()
        low, high = label.aminmax()
        if low < 0 or high >= self.blocks.classes:
            check_labels(self.target, self.blocks.classes, self.ignore_index)
        exp, total, log_prob = self._softmax(self.blocks.load(index, buffer), label, buffer)
        if not math.isfinite(total.sum()):  # at void pixels that is no fault: neither value nor gradient may notice
            logits = self.blocks.load(index, buffer).masked_fill(void, 0)
            exp, total, log_prob = self._softmax(logits, label, buffer)
        mask = (~void).to(self.blocks.dtype)
        if self.pixel_weight is not None:
            mask *= self.pixel_weight[image, part]
        weight = mask if self.class_weight is None else mask * self.class_weight[label]
        return _Block(exp, total, label, mask, weight, log_prob, torch.exp(log_prob))

    def _softmax(self, logits: Tensor, label: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """exp(x - max x), its sum, and log p of the true class; in powers of 2, for exp2 is 3 times faster than exp."""
        count = label.numel()
        top = logits.amax(0).mul_(-1 / LN2)
        exp = torch.add(top, logits, alpha=1 / LN2, out=buffer[: logits.numel()].view_as(logits))
        log_prob = exp.view(-1)[label * count + self.index[:count]]
        total = exp.exp2_().sum(0)
        # Rounding could leave it just above 0.
        return exp, total, log_prob.sub_(total.log2()).mul_(LN2).clamp_(max=0)


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
