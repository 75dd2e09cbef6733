"""Linear interpolation, there and back, as products with small matrices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor


class Windows:
    """Linear interpolation along one side: each stretch of results needs few sources.

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
        self.before = (self.weight != 0).to(torch.uint8).argmax(1)  # (windows, stretch): of two sources the first
        self.part = 1 - self.weight.gather(1, self.before[:, None]).transpose(1, 2)  # (..., stretch, 1): of the second

    def window(self, number: int) -> slice:
        """The sources of a stretch."""
        return slice(self.starts[number], self.starts[number] + self.length)

    def between_sources(self, number: int, count: int) -> Iterator[tuple[slice, int, Tensor]]:
        """The first results of a stretch by the source that they come after: which, that source's place, how far on."""
        for source, group in groupby(range(count), self.before[number].tolist().__getitem__):
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
