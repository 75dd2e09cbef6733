"""Logits in blocks of pixels that fit the processor's cache: as they are, or upsampled on the way."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

CPU_BLOCK = 512 * 1024  # logits: 2 MiB of float32; smaller ones cost more in calls than they save in the cache
Buffer = dict[int, Tensor]
TO_BITS = 1 / math.log(2)  # torch's exp2 takes a third of the time of its exp on CPUs that are not Intel's
COLUMNS = 128  # of the upsampled image, for one small product of matrices


def blocks_of(logits: Tensor, target_shape: Sequence[int], align_corners: bool | None) -> LogitBlocks:
    """The blocks of (N, C, h, w) logits, upsampled to (N, H, W) unless they have its size."""
    _, height, width = target_shape
    if align_corners is None or logits.shape[2:] == (height, width):
        return FullSizeBlocks(logits)
    return UpsampledBlocks(logits, (height, width), align_corners)


class LogitBlocks(ABC):
    """Blocks of consecutive pixels, numbered through all images; their gradient is collected the same way.

    Args:
        logits: (N, C, h, w), any floating type.
        per_image: number of pixels of an image.
        unit: blocks are a multiple of so many pixels.

    Attributes:
        batch, classes: N and C.
        pixels: P, what a block has at most.
        dtype: of the blocks: float32, or float64 for float64 logits.
        device: of the logits.
    """

    def __init__(self, logits: Tensor, per_image: int, unit: int) -> None:
        self.logits, self.per_image = logits, per_image
        self.batch, self.classes = logits.shape[:2]
        self.device = logits.device
        self.dtype = torch.promote_types(logits.dtype, torch.float32)
        # A GPU has no such cache, and needs much work at a time.
        wanted = CPU_BLOCK // self.classes if self.device.type == "cpu" else per_image
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
    def gradient(self) -> Tensor:
        """The gradient by the logits, in their shape and type."""


class FullSizeBlocks(LogitBlocks):
    """Logits as they are."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits, logits.shape[2] * logits.shape[3], unit=1)
        self.flat = logits.flatten(2)
        # Otherwise blocks go through a buffer, where they are converted and, from channels_last, transposed.
        self.direct = logits.dtype == self.dtype and self.flat.stride(2) == 1
        self.blocks = self.parts(self.flat)

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

    def gradient(self) -> Tensor:
        return self.flat_gradient.view(self.logits.shape)


class UpsampledBlocks(LogitBlocks):
    """Bilinear upsampling as ``F.interpolate`` does it; a block is a strip of rows of the upsampled image.

    Args:
        logits: (N, C, h, w).
        size: (H, W) to upsample to.
        align_corners: as in ``F.interpolate``.
    """

    def __init__(self, logits: Tensor, size: tuple[int, int], align_corners: bool) -> None:
        super().__init__(logits, size[0] * size[1], unit=size[1])
        self.width = size[1]
        self.small = logits.detach().to(self.dtype, memory_format=torch.contiguous_format)
        self.bits = self.small * TO_BITS
        height = self.pixels // max(self.width, 1)
        self.rows = Windows(logits.shape[2], size[0], height, align_corners, self.small)
        self.columns = Windows(logits.shape[3], size[1], COLUMNS, align_corners, self.small)

    def load(self, index: int, buffer: Buffer, shift: Tensor | None = None) -> Tensor:
        image, strip = divmod(index, self.blocks_an_image)
        wide = self.columns.widen(self.bits[image, :, self.rows.window(strip)])
        steps = torch.zeros_like(wide)
        torch.sub(wide[:, 1:], wide[:, :-1], out=steps[:, :-1])
        out = buffer[self.count(index)]
        rows = out.view(self.classes, -1, self.width)
        for place, source, part in self.rows.between_sources(strip, rows.shape[1]):
            torch.addcmul(wide[:, source, None], steps[:, source, None], part, out=rows[:, place])
        return out if shift is None else out.add_(shift)

    def start_gradient(self) -> None:
        strips = len(self), self.classes, self.rows.length, self.small.shape[3]
        self.by_strip = self.small.new_empty(strips)

    def store_gradient(self, index: int, block: Tensor) -> None:
        rows = block.view(self.classes, -1, self.width)
        weight = self.rows.weight[index % self.blocks_an_image, :, : rows.shape[1]]
        wide = torch.bmm(weight.expand(self.classes, -1, -1), rows)
        self.by_strip[index] = self.columns.narrow(wide)

    def gradient(self) -> Tensor:
        total = torch.zeros_like(self.small)
        for strip in range(self.blocks_an_image):
            total[:, :, self.rows.window(strip)] += self.by_strip[strip :: self.blocks_an_image]
        return total.to(self.logits.dtype)


class Windows:
    """Linear interpolation along one side as products with small matrices: each stretch of results needs few sources.

    Args:
        sources: length of the side.
        results: length that it is interpolated to.
        stretch: how many results belong to one window.
        align_corners: as in ``F.interpolate``.
        like: tensor that gives type and device.
    """

    def __init__(self, sources: int, results: int, stretch: int, align_corners: bool, like: Tensor) -> None:
        # torch's own weights, to the last bit: of source i for result j.
        eye = torch.eye(sources, dtype=like.dtype, device=like.device)
        weight = F.interpolate(eye[None], size=results, mode="linear", align_corners=align_corners)[0]
        self.sources, self.results = sources, results
        weight = F.pad(weight, (0, -results % stretch)).unflatten(1, (-1, stretch))  # (sources, windows, stretch)
        used = (weight != 0).any(2)
        place = torch.arange(sources, device=like.device)[:, None]
        first, last = torch.where(used, place, sources).amin(0), torch.where(used, place, -1).amax(0)
        self.length = int((last - first).max()) + 1
        first = first.clamp(max=sources - self.length)
        self.index = first[:, None] + torch.arange(self.length, device=like.device)  # (windows, length)
        self.flat_index = self.index.flatten()
        self.starts = first.tolist()
        self.weight = weight.transpose(0, 1).gather(1, self.index[:, :, None].expand(-1, -1, stretch)).contiguous()
        after = (self.weight != 0).to(torch.uint8).argmax(1)  # (windows, stretch): of two sources the first
        self.part = 1 - self.weight.gather(1, after[:, None]).transpose(1, 2)  # (windows, stretch, 1): of the second
        self.after = after.tolist()

    def window(self, number: int) -> slice:
        """The sources of a stretch."""
        return slice(self.starts[number], self.starts[number] + self.length)

    def between_sources(self, number: int, count: int) -> Iterator[tuple[slice, int, Tensor]]:
        """The first results of a stretch by the source that they come after: which, that source's place, how far on."""
        for source, group in groupby(range(count), self.after[number].__getitem__):
            results = list(group)
            place = slice(results[0], results[-1] + 1)
            yield place, source, self.part[number, place]

    def widen(self, block: Tensor) -> Tensor:
        """Interpolate (..., sources) to (..., results)."""
        windows = block.flatten(0, -2).index_select(1, self.flat_index).unflatten(1, self.index.shape).transpose(0, 1)
        wide = torch.bmm(windows, self.weight).transpose(0, 1).flatten(1)
        return wide[:, : self.results].unflatten(0, block.shape[:-1])

    def narrow(self, block: Tensor) -> Tensor:
        """The transpose of :meth:`widen`: (..., results) to (..., sources)."""
        missing = self.weight.shape[0] * self.weight.shape[2] - self.results
        flat = block.flatten(0, -2)
        if missing:
            flat = F.pad(flat, (0, missing))
        flat = flat.unflatten(1, (-1, self.weight.shape[2])).transpose(0, 1)
        windows = torch.bmm(flat, self.weight.mT).transpose(0, 1).flatten(1)  # (rows, windows * length)
        out = windows.new_zeros(len(windows), self.sources).index_add_(1, self.flat_index, windows)
        return out.unflatten(0, block.shape[:-1])
