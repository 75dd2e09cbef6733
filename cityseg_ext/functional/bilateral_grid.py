"""Sums over all pixels, weighted by nearness in place and colour, in time linear in the number of pixels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cityseg_ext.checks import check_at_least, expected

_PARTS = (3, 3, 3, 3, 3)
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
        # Everything that is a function of one coordinate is a small table: rows, columns, and 256 levels a channel.
        places = [
            torch.arange(length, dtype=dtype, device=image.device).sub((length - 1) / 2).div(sigma)
            for length, sigma in zip((height, width, 256, 256, 256), (sigma_xy,) * 2 + (sigma_rgb,) * 3, strict=True)
        ]
        where = (*torch.meshgrid(*(torch.arange(n, device=image.device) for n in (height, width)), indexing="ij"),)
        where += tuple(image.long().unbind(dim=2))
        cells = [torch.round(place * parts).long() for place, parts in zip(places, _PARTS, strict=True)]
        cubes = [
            (cell + parts // 2).div(parts, rounding_mode="floor") for cell, parts in zip(cells, _PARTS, strict=True)
        ]
        lowest = [int(cube.min()) - _REACH for cube in cubes]
        # Mixed radix numbers: of cubes, with room around them for the corners and the blur, and of cells in a cube.
        sizes = [int(cube.max()) - low + _REACH + 2 for cube, low in zip(cubes, lowest, strict=True)]
        strides, inner = _strides(sizes), _strides(_PARTS)
        cells_of_cube = inner[0] * _PARTS[0]
        key = torch.zeros(height, width, dtype=torch.int64, device=image.device)
        for d, index in enumerate(where):
            number = (cubes[d] - lowest[d]) * (strides[d] * cells_of_cube)
            key += (number + (cells[d] + _PARTS[d] // 2) % _PARTS[d] * inner[d])[index]
        features = torch.stack([(places[d] - lowest[d] + 0.5)[index].flatten() for d, index in enumerate(where)], dim=1)
        self._build(key.flatten(), features, strides, sizes, cells_of_cube)

    def _build(self, key: Tensor, features: Tensor, strides: list[int], sizes: list[int], cells_of_cube: int) -> None:
        """Sort pixels into cells, cells into cubes, and cubes' corners into nodes."""
        device, dtype = key.device, features.dtype
        key, self._pixels = key.sort(stable=True)
        keys, cell, counts = key.unique_consecutive(return_inverse=True, return_counts=True)
        self._cell_starts = counts.cumsum(0) - counts
        self.cell_of_pixel = torch.empty_like(cell).scatter_(0, self._pixels, cell)
        self.cell_sizes = counts.to(dtype)[:, None]

        keys = keys.div(cells_of_cube, rounding_mode="floor")
        cubes, cube, counts = keys.unique_consecutive(return_inverse=True, return_counts=True)
        self._cube_starts = counts.cumsum(0) - counts
        stride, size = (torch.tensor(values, device=device) for values in (strides, sizes))
        inside = self.cell_sums(features) / self.cell_sizes - keys[:, None].div(stride, rounding_mode="floor") % size
        inside = inside.clamp(0, 1)
        corners = torch.cartesian_prod(*[torch.arange(2, device=device)] * len(strides))
        self._weights = torch.where(corners == 1, inside[:, None], 1 - inside[:, None]).prod(dim=2)

        nodes, node = (cubes[:, None] + (corners * stride).sum(dim=1)).unique(return_inverse=True)
        self._nodes_of_cells = node[cube]
        sorted_nodes, self._corners = node.flatten().sort(stable=True)
        self._node_starts = torch.searchsorted(sorted_nodes, torch.arange(len(nodes), device=device))
        steps = torch.arange(-_REACH, _REACH + 1, device=device)
        weights = (torch.exp(-(steps**2) / (2 * _BLUR_VARIANCE)) / math.sqrt(_BLUR_VARIANCE)).to(dtype)
        self._neighbours = []
        for step in strides:
            wanted = nodes[:, None] + steps * step
            found = torch.searchsorted(nodes, wanted).clamp_(max=len(nodes) - 1)
            self._neighbours.append((found, weights * (nodes[found] == wanted)))

    def cell_sums(self, values: Tensor) -> Tensor:
        """Add up the pixels of each cell: (H * W, C) -> (M, C)."""
        return F.embedding_bag(self._pixels, values, self._cell_starts, mode="sum")

    def blur(self, values: Tensor) -> Tensor:
        """The kernel-weighted sum over all cells, at each cell: (M, C) -> (M, C)."""
        cells = torch.arange(len(values), device=values.device)
        at_corners = torch.stack(
            [
                F.embedding_bag(cells, values, self._cube_starts, mode="sum", per_sample_weights=weights.contiguous())
                for weights in self._weights.unbind(dim=1)
            ],
            dim=1,
        )
        at_nodes = F.embedding_bag(self._corners, at_corners.flatten(0, 1), self._node_starts, mode="sum")
        for found, weights in self._neighbours:
            at_nodes = F.embedding_bag(found, at_nodes, mode="sum", per_sample_weights=weights)
        return F.embedding_bag(self._nodes_of_cells, at_nodes, mode="sum", per_sample_weights=self._weights)


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
