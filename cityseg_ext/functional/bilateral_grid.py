"""Sums over all pixels, weighted by nearness in place and colour, in time linear in the number of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cityseg_ext.checks import check_at_least, expected

_PARTS = (3, 3, 2, 2, 2)
"""Cells along the side of a cube: y, x, red, green, blue. Odd in y and x: a mirrored image has the mirrored cells."""

_REACH = 2
"""Nodes that the blur looks at on either side; the next one would weigh 0.001."""

_BLUR_VARIANCE = 1 - 1 / 3
"""In sides of a cube: going to the nodes and back by linear interpolation adds the rest, on average."""


class BilateralGrid:
    """Nearly the Gaussian kernel ``exp(-|f_i - f_j|^2 / 2)`` between all pixels of an image, never formed.

    ``f`` is (y / sigma_xy, x / sigma_xy, red / sigma_rgb, green / sigma_rgb, blue / sigma_rgb). As in J. Chen, S.
    Paris, F. Durand, "Real-time edge-aware image processing with the bilateral grid", SIGGRAPH 2007, values go to nodes
    of a grid of spacing 1 in these five dimensions, are blurred along each, and come back. Three things are different:

    * only the corners of cubes that hold a pixel are nodes, as in the permutohedral lattice (A. Adams, J. Baek,
      A. Davis, Eurographics 2010); interpolation in the cubes is linear, and the blur narrower by what that adds;
    * pixels of one **cell**, a third of a sigma wide in place and half of one in colour, go together, from their mean,
      so that only sums over cells cost time for each pixel;
    * cells go to the nodes along one dimension at a time, two at each step and not 32 at once, and what meets on the
      way goes on together, from its mean.

    Memory: up to 300 bytes a pixel of a photograph while it is built, as measured at 512x1024, then 16, and 500 a cell;
    ten times as much in noise, where each pixel is a cell.

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
        lengths, sigmas = (*image.shape[:2], 256, 256, 256), (sigma_xy, sigma_xy, sigma_rgb, sigma_rgb, sigma_rgb)
        # Everything that is a function of one coordinate is a small table: rows, columns, and 256 levels a channel.
        places, cells, sizes = zip(*map(_numbered, lengths, sigmas, _PARTS), strict=True)
        strides = _strides(sizes)
        rows, columns = (torch.arange(length, device=image.device) for length in lengths[:2])
        key = torch.zeros(lengths[:2], dtype=torch.int64, device=image.device)
        features = torch.empty(*lengths[:2], len(lengths), dtype=dtype, device=image.device)
        for d, index in enumerate((rows[:, None], columns, *image.long().unbind(dim=2))):
            key += (cells[d] * strides[d]).to(image.device)[index]
            features[:, :, d] = places[d].to(features)[index]
        key, self._pixels = key.flatten().sort(stable=True)
        points, cell, counts = key.unique_consecutive(return_inverse=True, return_counts=True)
        self.cell_of_pixel = torch.empty_like(cell).scatter_(0, self._pixels, cell)
        self.cell_sizes = counts.to(dtype)[:, None]
        self._cell_starts = counts.cumsum(0) - counts
        sums = torch.cat([self.cell_sums(features.flatten(0, 1)), self.cell_sizes], dim=1)
        self._build(points, sums, sizes, strides)

    def _build(self, points: Tensor, sums: Tensor, sizes: tuple[int, ...], strides: list[int]) -> None:
        """Lead points to nodes along one dimension after another, colours first, and find the nodes' neighbours.

        Sums (P, 6) are those of the places of each point's pixels, and how many they are.
        """
        self._stages = []
        for d in reversed(range(len(_PARTS))):
            number = points.div(strides[d], rounding_mode="floor") % sizes[d]
            cube = number.div(_PARTS[d], rounding_mode="floor")
            below = points - (number - cube * _PARTS[d]) * strides[d]
            mean = sums[:, d] / sums[:, -1].clamp_min(torch.finfo(sums.dtype).tiny)
            points, stage = _interpolation(below, _PARTS[d] * strides[d], mean - cube)
            sums = stage.there(sums)
            self._stages.append(stage)
        steps = torch.arange(-_REACH, _REACH + 1, device=points.device)
        weights = torch.exp(-(steps**2) / (2 * _BLUR_VARIANCE)).to(sums)
        self._neighbours = []
        for stride, parts in zip(strides, _PARTS, strict=True):
            wanted = points[:, None] + steps * (stride * parts)
            found = torch.searchsorted(points, wanted, out_int32=True).clamp_(max=len(points) - 1)
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


def _numbered(length: int, sigma: float, parts: int) -> tuple[Tensor, Tensor, int]:
    """Where the values of one coordinate lie, in sigmas and in cells, both from the first node on, and how many cells.

    The middle of all values is the middle of a cube. There is room for the nodes of the last cube and for the blur.
    """
    place = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2) / sigma
    # Halves are rounded alike on both sides of the middle, which is a border of cells if their number is even.
    cell = torch.round(place * parts - (0.5 if parts % 2 == 0 else 0)).long() + parts // 2
    first = int(cell[0]) // parts - _REACH
    size = (int(cell[-1]) // parts - first + 2 + _REACH) * parts
    return place + 0.5 - first, cell - first * parts, size


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


def _strides(sizes: tuple[int, ...]) -> list[int]:
    """What one step along each dimension adds to a mixed radix number.

    Example:
        >>> _strides((2, 3, 4))
        [12, 4, 1]
    """
    strides = [1]
    for size in reversed(sizes[1:]):
        strides.insert(0, strides[0] * size)
    return strides
