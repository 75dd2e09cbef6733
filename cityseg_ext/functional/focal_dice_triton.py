"""The sums of the focal and the Dice term by Triton kernels, for GPUs.

Logits are read once forward and once backward, through their strides, and their gradient is written once; the softmax
is computed again in the backward pass. Nothing of their size is kept or made besides. With upsampling inside, the
largest tensor is four times the small logits, in float32.

Results are the same in every run: programs leave their sums, a few numbers each, to torch, and nothing is atomic.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from cityseg_ext.functional import focal_dice_cell_kernels as cell_kernels
from cityseg_ext.functional import focal_dice_kernels as kernels
from cityseg_ext.functional.focal_dice_plain import check_labels, plain_gradient

LN2 = math.log(2)
MAX_CLASSES = 64  # in registers
MAX_SPAN = 64  # pixels of a cell in a row: upsampling by more has the other version
BLOCK = 128  # pixels that a program has at a time, one for each thread
STEPS = 16  # how many times


def triton_can_run(logits: Tensor, target: Tensor, align_corners: bool | None) -> bool:
    """Whether there are kernels for these tensors: with Triton, on a GPU, not too many classes, not too much upsampled.

    Nothing that makes logits smaller has a kernel either.
    """
    if kernels.triton is None or logits.device.type != "cuda" or logits.shape[1] > MAX_CLASSES:
        return False
    if align_corners is None or not target.numel():
        return True
    sizes = zip(logits.shape[2:], target.shape[1:], strict=True)
    return all(small <= large and _span(small, large, align_corners) <= MAX_SPAN for small, large in sizes)


class TritonFocalDiceSums(torch.autograd.Function):
    """``TritonFocalDiceSums.apply(logits, target, class_weight, pixel_weight, gamma, ignore_index, align_corners)``.

    Arguments and results are those of :func:`~cityseg_ext.functional.focal_dice.focal_dice_sums`; shapes are checked
    there. Labels are checked by the kernel: to ask it, the processor waits for the forward pass. Second derivatives
    are those of the plain version.
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
        tensors, options = (logits, target, class_weight, pixel_weight), (gamma, ignore_index, align_corners)
        ctx.save_for_backward(*tensors)
        ctx.options = options
        classes, dtype = logits.shape[1], torch.promote_types(logits.dtype, torch.float32)
        sums = _launch_of(*tensors, *options).sums().sum(1, dtype=torch.float64)
        if sums[:, 3, 1].any():
            check_labels(target, classes, ignore_index)  # to name them
        overlap, predicted, actual = (sums[:, i, :classes].to(dtype) for i in range(3))
        focal = (-LN2 * sums[:, 3, 0]).to(dtype)
        norm = (actual if class_weight is None else actual * class_weight.to(actual)).sum(1)
        ctx.mark_non_differentiable(norm, actual)
        return focal, norm, overlap, predicted, actual

    @staticmethod
    def backward(ctx: Any, by_focal: Tensor, _: Tensor, by_overlap: Tensor, by_predicted: Tensor, __: Tensor) -> Any:
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated
            return plain_gradient(ctx, by_focal, by_overlap, by_predicted), *[None] * 6
        by_sums = [part.contiguous() for part in (by_focal, by_overlap, by_predicted)]
        return _launch_of(*ctx.saved_tensors, *ctx.options).gradient(*by_sums), *[None] * 6


def _launch_of(logits: Tensor, target: Tensor, *rest: Any) -> _Launch:
    """Arguments as those of ``TritonFocalDiceSums``; the last is ``align_corners``."""
    as_it_is = rest[-1] is None or logits.shape[2:] == target.shape[1:]
    return (_FullSize if as_it_is else _Upsampled)(logits, target, *rest)


class _Launch(ABC):
    """What both kernels of a kind are called with; arguments as those of ``TritonFocalDiceSums``."""

    def __init__(
        self,
        logits: Tensor,
        target: Tensor,
        class_weight: Tensor | None,
        pixel_weight: Tensor | None,
        gamma: float,
        ignore_index: int,
        align_corners: bool | None,
    ) -> None:
        self.logits, self.align_corners = logits, align_corners
        self.batch, self.classes = logits.shape[:2]
        self.height, self.width = target.shape[1:]
        self.dtype = torch.promote_types(logits.dtype, torch.float32)
        # Of these a copy costs little: one number a pixel, or a class.
        tensors = (target, pixel_weight, class_weight)
        self.given = [None if tensor is None else tensor.to(logits.device).contiguous() for tensor in tensors]
        self.padded = 1 << max(self.classes - 1, 1).bit_length()
        self.constants = dict(
            CLASSES=self.classes,
            PADDED=self.padded,
            GAMMA=gamma,
            VOID=ignore_index,
            DTYPE=kernels.tl.float64 if self.dtype == torch.float64 else kernels.tl.float32,
            BLOCK=BLOCK,
            num_warps=BLOCK // 32 * (2 if self.padded > 32 else 1),
        )

    @abstractmethod
    def sums(self) -> Tensor:
        """(N, programs, 4, padded classes) sums of all programs, as ``kernels.store_sums`` lays them out."""

    @abstractmethod
    def gradient(self, *by_sums: Tensor) -> Tensor:
        """The gradient by the logits, from those by focal, overlap and predicted."""

    def call(self, kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        """Launch the kernel on the logits' device, unless there is nothing to do."""
        if math.prod(grid):
            with torch.cuda.device_of(self.logits):
                kernel[grid](self.logits, *self.logits.stride(), *arguments, **self.constants, **constants)


class _FullSize(_Launch):
    """Logits as they are."""

    def sums(self) -> Tensor:
        pixels = self.height * self.width
        grid = -(-pixels // (BLOCK * STEPS)), self.batch
        out = self.logits.new_empty(self.batch, grid[0], 4, self.padded, dtype=self.dtype)
        self.call(kernels.sums_kernel, grid, *self.given, out, pixels, self.width, STEPS=STEPS)
        return out

    def gradient(self, *by_sums: Tensor) -> Tensor:
        pixels = self.height * self.width
        out = torch.empty_like(self.logits)
        grid = -(-pixels // BLOCK), self.batch
        self.call(kernels.gradient_kernel, grid, *self.given, out, *out.stride(), *by_sums, pixels, self.width)
        return out


class _Upsampled(_Launch):
    """Small logits, by cells."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        small = self.logits.shape[2:]
        large = self.height, self.width
        self.fractions = [_fraction(*sides, self.align_corners) for sides in zip(small, large, strict=True)]
        self.span = 1 << max(_span(small[1], self.width, self.align_corners) - 1, 0).bit_length()
        self.grid = -(-(small[1] + 1) // (BLOCK // self.span)), small[0] + 1, self.batch

    def sums(self) -> Tensor:
        out = self.logits.new_empty(self.batch, self.grid[0] * self.grid[1], 4, self.padded, dtype=self.dtype)
        self._call(cell_kernels.cell_sums_kernel, out)
        return out

    def gradient(self, *by_sums: Tensor) -> Tensor:
        rows, columns = (side + 1 for side in self.logits.shape[2:])
        out = self.logits.new_empty(2, 2, self.batch, self.classes, rows, columns, dtype=self.dtype)
        self._call(cell_kernels.cell_gradient_kernel, out, *by_sums)
        upper, lower = (_to_sources(left, right, 3) for left, right in out)
        return _to_sources(upper, lower, 2).to(self.logits.dtype)

    def _call(self, kernel: Any, *arguments: Any) -> None:
        sides = (number for fraction in self.fractions for number in fraction)
        arguments = *self.logits.shape[2:], *self.given, *arguments, self.height, self.width, *sides
        self.call(kernel, self.grid, *arguments, SPAN=self.span)


def _fraction(small: int, large: int, align_corners: bool | None) -> tuple[int, int, int]:
    """Step, offset and unit: pixel x of ``large`` lies at source ``(x * step + offset) / unit`` of ``small``."""
    if not align_corners:
        return 2 * small, small - large, 2 * large
    # From one source all pixels are the same wherever they lie.
    return (small - 1, 0, max(large - 1, 1)) if small > 1 else (1, 0, large)


def _span(small: int, large: int, align_corners: bool | None) -> int:
    """The most pixels that a cell has along one side."""
    step, _, unit = _fraction(small, large, align_corners)
    return -(-unit // step)


def _to_sources(before: Tensor, after: Tensor, dim: int) -> Tensor:
    """Add what cells give to the source before them and to that after them; at the border both are the nearest one.

    Along ``dim`` there is one source less than cells.
    """
    sources = before.shape[dim] - 1
    total = before.narrow(dim, 1, sources) + after.narrow(dim, 0, sources)
    total.select(dim, 0).add_(before.select(dim, 0))
    total.select(dim, sources - 1).add_(after.select(dim, sources))
    return total
