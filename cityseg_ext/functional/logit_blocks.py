"""Logits in blocks of pixels that fit the processor's cache: as they are, or upsampled on the way."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cityseg_ext.functional.linear_windows import Windows

CPU_BLOCK = 512 * 1024  # logits: 2 MiB of float32; smaller ones cost more in calls than they save in the cache
LOOP_BLOCK = 1024 * 1024  # for loops, whose pixels are in the cache a few at a time
Buffer = dict[int, Tensor]
TO_BITS = 1 / math.log(2)  # torch's exp2 takes a third of the time of its exp on CPUs that are not Intel's
COLUMNS = 128  # of the upsampled image, for one small product of matrices


class Rows(NamedTuple):
    """Rows of pixels, and the rows of logits that they come from: what loops walk over.

    Attributes:
        sources: (C, R, W) rows of logits.
        columns: first and end of those that the rows of pixels have.
        before: (H,) int64, the row of sources that a row of pixels comes after, or is;
        after: (H,) int64, the row that it comes before,
        part: (H,) and how far it is on the way there.
        between: whether rows are between others at all; else there is one row, of which a block may be a piece.
        scale: what makes sources exponents of 2, unless rows are between.
    """

    sources: Tensor
    columns: tuple[int, int]
    before: Tensor
    after: Tensor
    part: Tensor
    between: bool
    scale: float


def blocks_of(
    logits: Tensor, target_shape: Sequence[int], align_corners: bool | None, for_loops: bool = False
) -> LogitBlocks:
    """The blocks of (N, C, h, w) logits, upsampled to (N, H, W) unless they have its size."""
    _, height, width = target_shape
    numbers = LOOP_BLOCK if for_loops else CPU_BLOCK
    if align_corners is None or logits.shape[2:] == (height, width):
        return FullSizeBlocks(logits, numbers)
    return UpsampledBlocks(logits, (height, width), align_corners, numbers)


class LogitBlocks(ABC):
    """Blocks of consecutive pixels, numbered through all images; their gradient is collected the same way.

    Args:
        logits: (N, C, h, w), any floating type.
        per_image: number of pixels of an image.
        unit: blocks are a multiple of so many pixels.
        numbers: how many logits a block may have on a CPU, if that is not less than a unit.

    Attributes:
        batch, classes: N and C.
        pixels: P, what a block has at most.
        dtype: of the blocks: float32, or float64 for float64 logits.
        device: of the logits.
        rows_need_buffer: whether :meth:`rows` does.
    """

    rows_need_buffer = False

    def __init__(self, logits: Tensor, per_image: int, unit: int, numbers: int) -> None:
        self.logits, self.per_image = logits, per_image
        self.batch, self.classes = logits.shape[:2]
        self.device = logits.device
        self.dtype = torch.promote_types(logits.dtype, torch.float32)
        # A GPU has no such cache, and needs much work at a time.
        wanted = numbers // self.classes if self.device.type == "cpu" else per_image
        self.pixels = min(max(wanted // max(unit, 1), 1) * unit, per_image)
        self.blocks_an_image = -(-per_image // max(self.pixels, 1))

    def __len__(self) -> int:
        return self.batch * self.blocks_an_image

    def parts(self, images: Tensor) -> list[Tensor]:
        """(N, ..., pixels of an image) as a view for each block."""
        return [part for image in images for part in image.split(max(self.pixels, 1), dim=-1)]

    def new_buffer(self) -> Buffer:
        """Memory for one block, (C, P), by number of pixels: the last block of an image may have fewer."""
        memory = self.logits.new_empty(self.classes * self.pixels, dtype=self.dtype)
        last = self.per_image - (self.blocks_an_image - 1) * self.pixels
        return {count: memory[: self.classes * count].view(self.classes, count) for count in (self.pixels, last)}

    def count(self, index: int) -> int:
        """Pixels of a block."""
        return min(self.pixels, self.per_image - index % self.blocks_an_image * self.pixels)

    @abstractmethod
    def load(self, index: int, buffer: Buffer, shift: Tensor | None = None) -> Tensor:
        """The block's logits as exponents of 2, plus a shift of each pixel: (C, P), in the buffer."""

    @abstractmethod
    def start_gradient(self) -> None:
        """Make room for a gradient."""

    @abstractmethod
    def store_gradient(self, index: int, block: Tensor) -> None:
        """Take over the gradient by the block's logits, (C, P)."""

    @abstractmethod
    def rows(self, index: int, buffer: Buffer | None = None) -> Rows:
        """The block's logits for loops; in the buffer, if one is needed."""

    @abstractmethod
    def gradient_rows(self, index: int, rows: Rows) -> Tensor:
        """Where loops leave the gradient by the block's sources, in their shape; it may be their own memory."""

    @abstractmethod
    def store_gradient_rows(self, index: int, gradient: Tensor) -> None:
        """Take over what loops have left there."""

    @abstractmethod
    def gradient(self) -> Tensor:
        """The gradient by the logits, in their shape and type."""


class FullSizeBlocks(LogitBlocks):
    """Logits as they are; arguments as in :class:`LogitBlocks`."""

    def __init__(self, logits: Tensor, numbers: int) -> None:
        super().__init__(logits, logits.shape[2] * logits.shape[3], 1, numbers)
        self.flat = logits.flatten(2)
        # Otherwise blocks go through a buffer, where they are converted and, from channels_last, transposed.
        self.direct = logits.dtype == self.dtype and self.flat.stride(2) == 1
        self.rows_need_buffer = not (self.direct and self.flat.is_contiguous())
        self.blocks = self.parts(self.flat)
        row = torch.zeros(1, dtype=torch.int64)
        self.only_row: dict[str, Any] = dict(before=row, after=row, part=torch.zeros(1), between=False)

    def load(self, index: int, buffer: Buffer, shift: Tensor | None = None) -> Tensor:
        block = self.blocks[index]
        out = buffer[block.shape[1]]
        if not self.direct:
            block = out.copy_(block)
        return torch.mul(block, TO_BITS, out=out) if shift is None else torch.add(shift, block, alpha=TO_BITS, out=out)

    def start_gradient(self) -> None:
        self.flat_gradient = torch.empty_like(self.flat)
        self.gradient_blocks = self.parts(self.flat_gradient)

    def store_gradient(self, index: int, block: Tensor) -> None:
        self.gradient_blocks[index].copy_(block)

    def rows(self, index: int, buffer: Buffer | None = None) -> Rows:
        image, block = divmod(index, self.blocks_an_image)
        if buffer is not None:
            sources = self.load(index, buffer)
            return Rows(sources[:, None], (0, sources.shape[1]), scale=1.0, **self.only_row)
        start = block * self.pixels
        columns = start, start + self.count(index)
        return Rows(self.flat[image, :, None], columns, scale=TO_BITS, **self.only_row)

    def gradient_rows(self, index: int, rows: Rows) -> Tensor:
        return rows.sources if self.rows_need_buffer else self.flat_gradient[index // self.blocks_an_image, :, None]

    def store_gradient_rows(self, index: int, gradient: Tensor) -> None:
        if self.rows_need_buffer:
            self.store_gradient(index, gradient[:, 0])

    def gradient(self) -> Tensor:
        return self.flat_gradient.view(self.logits.shape)


class UpsampledBlocks(LogitBlocks):
    """Bilinear upsampling as ``F.interpolate`` does it; a block is a strip of rows of the upsampled image.

    Args:
        logits: (N, C, h, w).
        size: (H, W) to upsample to.
        align_corners: as in ``F.interpolate``.
        numbers: as in :class:`LogitBlocks`.
    """

    def __init__(self, logits: Tensor, size: tuple[int, int], align_corners: bool, numbers: int) -> None:
        super().__init__(logits, size[0] * size[1], size[1], numbers)
        self.width = size[1]
        self.bits = logits.detach().to(self.dtype, memory_format=torch.contiguous_format) * TO_BITS
        height = self.pixels // max(self.width, 1)
        self.strips = Windows(logits.shape[2], size[0], height, align_corners, self.bits)
        self.columns = Windows(logits.shape[3], size[1], COLUMNS, align_corners, self.bits)

    def load(self, index: int, buffer: Buffer, shift: Tensor | None = None) -> Tensor:
        strip, wide = self._widened(index)
        steps = torch.zeros_like(wide)
        torch.sub(wide[:, 1:], wide[:, :-1], out=steps[:, :-1])
        out = buffer[self.count(index)]
        rows = out.view(self.classes, -1, self.width)
        for place, source, part in self.strips.between_sources(strip, rows.shape[1]):
            torch.addcmul(wide[:, source, None], steps[:, source, None], part, out=rows[:, place])
        return out if shift is None else out.add_(shift)

    def start_gradient(self) -> None:
        strips = len(self), self.classes, self.strips.length, self.bits.shape[3]
        self.by_strip = self.bits.new_empty(strips)

    def store_gradient(self, index: int, block: Tensor) -> None:
        rows = block.view(self.classes, -1, self.width)
        weight = self.strips.weight[index % self.blocks_an_image, :, : rows.shape[1]]
        wide = torch.bmm(weight.expand(self.classes, -1, -1), rows)
        self.by_strip[index] = self.columns.narrow(wide)

    def rows(self, index: int, buffer: Buffer | None = None) -> Rows:
        strip, wide = self._widened(index)
        height = self.count(index) // max(self.width, 1)
        before, part = self.strips.before[strip, :height], self.strips.part[strip, :height, 0]
        after = (before + 1).clamp_(max=wide.shape[1] - 1)
        return Rows(wide.contiguous(), (0, self.width), before, after, part, between=True, scale=1.0)

    def gradient_rows(self, index: int, rows: Rows) -> Tensor:
        return torch.zeros_like(rows.sources)

    def store_gradient_rows(self, index: int, gradient: Tensor) -> None:
        self.by_strip[index] = self.columns.narrow(gradient)

    def gradient(self) -> Tensor:
        total = torch.zeros_like(self.bits)
        for strip in range(self.blocks_an_image):
            total[:, :, self.strips.window(strip)] += self.by_strip[strip :: self.blocks_an_image]
        return total.to(self.logits.dtype)

    def _widened(self, index: int) -> tuple[int, Tensor]:
        """The number of the block's strip in its image, and the rows of logits around it, (C, R, W)."""
        image, strip = divmod(index, self.blocks_an_image)
        return strip, self.columns.widen(self.bits[image, :, self.strips.window(strip)])
