"""Sums over all pixels, weighted by nearness in place and colour, in time linear in the number of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cityseg_ext.checks import check_at_least, expected

_PARTS = (3, 3, 2, 2, 2)
"""Cells along the side of a cube: y, x, red, green, blue. Odd, so that a mirrored image has the mirrored cells."""

_REACH = 2
"""Nodes that the blur looks at on either side; the next one would weigh 0.001."""

_BLUR_VARIANCE = 1 - 1 / 3
"""In sides of a cube: going to the nodes and back by linear interpolation adds the rest, on average."""


class BilateralGrid:
    """Nearly the Gaussian kernel ``exp(-|f_i - f_j|^2 / 2)`` between all pixels of an image, never formed.

    ``f`` is (y / sigma_xy, x / sigma_xy, red / sigma_rgb, green / sigma_rgb, blue / sigma_rgb). As in J. Chen, S.
    Paris, F. Durand, "Real-time edge-aware image processing with the bilateral grid", SIGGRAPH 2007, values go to nodes
    of a grid of spacing 1 in these five dimensions, are blurred along each, and come back. Two things are different:

    * only the corners of cubes that hold a pixel are nodes, as in the permutohedral lattice (A. Adams, J. Baek,
      A. Davis, Eurographics 2010); interpolation in the cubes is linear, and the blur narrower by what that adds;
    * pixels of one **cell**, a third of a sigma wide, go together, from their mean. A cell of a photograph has some ten
      pixels, so that only sums over cells cost time for each pixel.

    Memory: about 120 bytes a pixel while it is built; then 16, and about 400 a cell. In noise each pixel is a cell.

    Args:
        image: uint8 (H, W, 3).
        sigma_xy: standard deviation in place, in pixels, at least 1.
        sigma_rgb: standard deviation in colour, in grey levels, at least 1.
        dtype: of the weights and of what is filtered.

    Attributes:
        cell_of_pixel: int64 (H * W,), in [0, M).
        cell_sizes: pixels of each cell, (M, 1).

    Raises:
        ValueError: if the image has another shape or type, or a sigma is below 1.

    Example:
        >>> image = torch.tensor([[[0, 0, 0], [200, 0, 0], [0, 0, 0]]], dtype=torch.uint8)
        >>> grid = BilateralGrid(image, sigma_xy=50, sigma_rgb=10)
        >>> near = grid.blur(grid.cell_sums(torch.tensor([[1.0], [1.0], [0.0]])))  # one of two black ones, and the red
        >>> means = near / grid.blur(grid.cell_sizes)
        >>> [round(mean, 2) for mean in means[grid.cell_of_pixel, 0].tolist()]
        [0.5, 1.0, 0.5]
    """

    def __init__(self, image: Tensor, sigma_xy: float, sigma_rgb: float, dtype: torch.dtype = torch.float32) -> None:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != torch.uint8 or not image.numel():
            value = f"{image.dtype} {tuple(image.shape)}"
            raise ValueError(expected("image", "uint8 (H, W, 3) of at least one pixel", value))
        check_at_least("sigma_xy", sigma_xy, 1)
        check_at_least("sigma_rgb", sigma_rgb, 1)
        height, width = image.shape[:2]
        device = image.device
        # Everything that is a function of one coordinate is a small table: rows, columns, and 256 levels a channel.
        tables = [
            torch.arange(length, dtype=torch.float64, device=device).sub((length - 1) / 2).div(sigma)
            for length, sigma in zip((height, width, 256, 256, 256), (sigma_xy,) * 2 + (sigma_rgb,) * 3, strict=True)
        ]
        # Rounded, so that a mirrored image has the mirrored cells; with an even number of them a border is in the middle.
        cells = [
            torch.round(table * parts - (0.5 if parts % 2 == 0 else 0)).long() + parts // 2
            for table, parts in zip(tables, _PARTS, strict=True)
        ]
        # Numbers from 0 on, with room for the nodes of the highest cube and for the blur.
        firsts = [int(cell[0]) // parts - _REACH for cell, parts in zip(cells, _PARTS, strict=True)]
        sizes = [
            (int(cell[-1]) // parts - first + 2 + _REACH) * parts
            for cell, first, parts in zip(cells, firsts, _PARTS, strict=True)
        ]
        strides = _strides(sizes)
        where = [torch.arange(height, device=device)[:, None], torch.arange(width, device=device)]
        where += image.long().unbind(dim=2)
        key = torch.zeros(height, width, dtype=torch.int64, device=device)
        features = torch.empty(height, width, len(tables), dtype=dtype, device=device)
        for d, index in enumerate(where):
            key += ((cells[d] - firsts[d] * _PARTS[d]) * strides[d])[index]
            features[:, :, d] = (tables[d] - firsts[d] + 0.5).to(dtype)[index]
        key, self._pixels = key.flatten().sort(stable=True)
        points, cell, counts = key.unique_consecutive(return_inverse=True, return_counts=True)
        self.cell_of_pixel = torch.empty_like(cell).scatter_(0, self._pixels, cell)
        self.cell_sizes = counts.to(dtype)[:, None]
        self._cell_starts = counts.cumsum(0) - counts

        self._stages = []
        sums = torch.cat([self.cell_sums(features.flatten(0, 1)), self.cell_sizes], dim=1)
        for d in reversed(range(len(tables))):
            stride, size, parts = strides[d], sizes[d], _PARTS[d]
            number = points.div(stride, rounding_mode="floor") % size
            means = sums[:, d] / sums[:, -1].clamp_min(torch.finfo(dtype).tiny)
            node = number.div(parts, rounding_mode="floor")
            points, stage = _interpolation(points - (number - node * parts) * stride, parts * stride, means - node)
            self._stages.append(stage)
            sums = stage.there(sums)
        steps = torch.arange(-_REACH, _REACH + 1, device=device)
        weights = torch.exp(-(steps**2) / (2 * _BLUR_VARIANCE)).to(dtype)
        self._neighbours = []
        for stride, parts in zip(strides, _PARTS, strict=True):
            wanted = points[:, None] + steps * (stride * parts)
            found = torch.searchsorted(points, wanted).clamp_(max=len(points) - 1)
            self._neighbours.append((found, weights * (points[found] == wanted)))

    def cell_sums(self, values: Tensor) -> Tensor:
        """Add up the pixels of each cell: (H * W, C) -> (M, C)."""
        return F.embedding_bag(self._pixels, values, self._cell_starts, mode="sum")

    def blur(self, values: Tensor) -> Tensor:
        """The kernel-weighted sum over all cells, at each cell: (M, C) -> (M, C)."""
        for stage in self._stages:
            values = stage.there(values)
        for found, weights in self._neighbours:
            values = F.embedding_bag(found, values, mode="sum", per_sample_weights=weights)
        for stage in reversed(self._stages):
            values = stage.back(values)
        return values


@dataclass(frozen=True)
class _Stage:
    """Linear interpolation along one dimension, as a sparse matrix by rows and by columns.

    Attributes:
        nodes: below and above each point, int64 (P, 2).
        weights: of these two, (P, 2); their sum is 1.
        points: that have a share in each node, node after node, int64 (2 P,).
        shares: the weights in that order, (2 P,).
        starts: the first point of each node, int64 (nodes,).
    """

    nodes: Tensor
    weights: Tensor
    points: Tensor
    shares: Tensor
    starts: Tensor

    def there(self, values: Tensor) -> Tensor:
        """Points hand what they have to their nodes: (P, C) -> (nodes, C)."""
        return F.embedding_bag(self.points, values, self.starts, mode="sum", per_sample_weights=self.shares)

    def back(self, values: Tensor) -> Tensor:
        """Points take what their nodes have: (nodes, C) -> (P, C)."""
        return F.embedding_bag(self.nodes, values, mode="sum", per_sample_weights=self.weights)


def _interpolation(below: Tensor, step: int, fraction: Tensor) -> tuple[Tensor, _Stage]:
    """The nodes, numbers that rise, of points that lie this fraction of a step above the nodes ``below``."""
    fraction = fraction.clamp(0, 1)
    weights = torch.stack([1 - fraction, fraction], dim=1)
    keys, order = torch.stack([below, below + step], dim=1).flatten().sort(stable=True)
    numbers, node, counts = keys.unique_consecutive(return_inverse=True, return_counts=True)
    nodes = torch.empty_like(node).scatter_(0, order, node).view_as(weights)
    points = order.div(2, rounding_mode="floor")
    return numbers, _Stage(nodes, weights, points, weights.flatten()[order], counts.cumsum(0) - counts)


def _strides(sizes: list[int] | tuple[int, ...]) -> list[int]:
    """What one step along each dimension adds to a mixed radix number.

    Example:
        >>> _strides([2, 3, 4])
        [12, 4, 1]
    """
    strides = [1]
    for size in reversed(sizes[1:]):
        strides.insert(0, strides[0] * size)
    return strides
