"""The small network that tells which of the classes that meet at a border a mixed pixel belongs to.

Smoothing and JPEG mix the colours of neighbours: along borders a mask has colours of no class, or of a third one.
What a pixel was follows from the pixels around it. The network looks at 2 x 2 pixels at a time, the grid on which JPEG
stores its colour at half resolution, and corrects the nearest palette colour, where it starts from before it has learnt
anything. It was trained on rendered scenes, as ``tools/train_mask_decoder.py`` does; no photograph and no real mask is
behind it. Two sizes are shipped as ``mask_decoder_<effort>.npz`` beside this file: fixed tables, as the palette is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cityseg_ext.labels import COLORS

UInt8Array = npt.NDArray[np.uint8]
IndexArray = npt.NDArray[np.intp]


class Effort(NamedTuple):
    """How hard to look at a mask.

    Attributes:
        channels: width of the network.
        depth: its convolutions.
        mirrored: whether the mask is also looked at in a mirror, and the two answers averaged.
    """

    channels: int
    depth: int
    mirrored: bool


EFFORTS = {"fast": Effort(32, 2, mirrored=False), "best": Effort(64, 6, mirrored=True)}
"""The networks that are shipped."""

_AT_ONCE = 1024  # cells whose surroundings are gathered at a time, so that they stay in the cache
_TILE = 256  # only tiles with mixed pixels are looked at; a multiple of 8, so that JPEG's blocks stay in place


class MaskDecoder(nn.Module):
    """Logits of all colours for every pixel, from the colours around it.

    Args:
        channels: width of the hidden layers.
        depth: 3 x 3 convolutions after the first layer, at half resolution.

    Shape:
        input (N, 3, H, W): float, RGB / 255 - 0.5; H and W even. Output (N, C, H, W): logits in the order of
        ``labels.COLORS``.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 6, stride=2, padding=2)
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(channels + 12, 4 * len(COLORS))
        self.reach = 2 + 2 * depth  # pixels on either side that a 2 x 2 cell sees
        self._start_at_the_nearest_color()

    @torch.no_grad()
    def _start_at_the_nearest_color(self) -> None:
        """Minus the squared distance to a colour is linear in the pixel, but for a term that all colours share."""
        sharpness = 30.0
        colors = torch.tensor(COLORS) / 255 - 0.5
        self.head.weight.mul_(0.1)
        direct = self.head.weight[:, -12:].view(len(COLORS), 4, 3, 4).zero_()
        for place in range(4):
            direct[:, place, :, place] = 2 * sharpness * colors
        self.head.bias.copy_((-sharpness * colors.square().sum(1)).repeat_interleave(4))

    def forward(self, image: Tensor) -> Tensor:
        hidden = F.relu(self.stem(image))
        for convolution in self.body:
            hidden = hidden + F.relu(convolution(hidden))
        cells = torch.cat([hidden, F.pixel_unshuffle(image, 2)], 1)
        return F.pixel_shuffle(self.head(cells.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 2)

    @torch.inference_mode()
    def logits_at(self, image: Tensor, rows: IndexArray, columns: IndexArray, colors: Tensor) -> Tensor:
        """What :meth:`forward` gives at n pixels of one image (1, 3, H, W), for some of the colours: (n, colours).

        Only cells that those pixels depend on are computed, less than a third of them in a usual mask.
        """
        hidden = self.stem(image).relu_()[0].permute(1, 2, 0)
        height, width, channels = hidden.shape
        padded = torch.zeros(height + 2, width + 2, channels)
        padded[1:-1, 1:-1] = hidden
        grid = padded.view(-1, channels)
        cell = torch.from_numpy((rows // 2 + 1) * (width + 2) + columns // 2 + 1)
        needed = np.zeros((height, width), np.uint8)
        needed[rows // 2, columns // 2] = 1
        around = torch.tensor([down * (width + 2) + right for down in (-1, 0, 1) for right in (-1, 0, 1)])
        for number, convolution in enumerate(self.body, start=1):
            side = 2 * (len(self.body) - number) + 1  # later layers will look this far
            places = np.flatnonzero(np.pad(cv2.dilate(needed, np.ones((side, side), np.uint8)), 1))
            _convolve_at(grid, torch.from_numpy(places), around, *convolution.parameters())
        first = torch.from_numpy(rows // 2 * 4 * width + columns // 2 * 2)  # of the four pixels of a cell
        four = (first[:, None] + torch.tensor([0, 1, 2 * width, 2 * width + 1])).view(-1)
        own = image[0].permute(1, 2, 0).reshape(-1, 3).index_select(0, four).view(-1, 4, 3)
        cells = torch.cat([grid.index_select(0, cell), own.transpose(1, 2).flatten(1)], 1)
        weight, bias = self.head.weight.view(-1, 4, cells.shape[1])[colors], self.head.bias.view(-1, 4)[colors]
        logits = torch.empty(len(rows), len(colors))
        place = torch.from_numpy(rows % 2 * 2 + columns % 2)
        for number in range(4):
            there = (place == number).nonzero()[:, 0]
            part = F.linear(cells.index_select(0, there), weight[:, number], bias[:, number])
            logits.index_copy_(0, there, part)
        return logits


def _convolve_at(grid: Tensor, places: Tensor, around: Tensor, weight: Tensor, bias: Tensor) -> None:
    """One layer of the body at some places of a grid (cells, channels), in place."""
    weight = weight.permute(2, 3, 1, 0).reshape(-1, grid.shape[1])
    update = torch.empty(len(places), grid.shape[1])
    for some, result in zip(places.split(_AT_ONCE), update.split(_AT_ONCE), strict=True):
        seen = grid.index_select(0, (some[:, None] + around).view(-1)).view(len(some), -1)
        torch.addmm(bias, seen, weight, out=result)
    grid.index_add_(0, places, update.relu_())


@dataclass(frozen=True)
class Decisions:
    """What the network says about the n pixels that it was asked about, row by row.

    Attributes:
        column: uint8 (n,), the most likely column.
        probability: float32 (n,), 0 to 1, how likely it is.
    """

    column: UInt8Array
    probability: npt.NDArray[np.float32]


def decide(
    mask: UInt8Array, wanted: npt.NDArray[np.bool_], color_to_column: npt.NDArray[np.integer], effort: str
) -> Decisions:
    """Find the class of chosen pixels.

    Args:
        mask: uint8 (H, W, 3), RGB.
        wanted: bool (H, W), the pixels to decide about.
        color_to_column: integers (C,): the column that each of ``labels.COLORS`` counts for, or -1 where the colour
            cannot occur.
        effort: a key of :data:`EFFORTS`.

    Returns:
        The decisions, in the order of ``np.nonzero(wanted)``.
    """
    decoder = load_mask_decoder(effort)
    height, width = wanted.shape
    if height % 2 or width % 2:  # cells are of 2 x 2 pixels
        mask = np.pad(mask, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    possible = np.flatnonzero(color_to_column >= 0)
    colors = torch.from_numpy(possible)
    counts_for = torch.eye(int(color_to_column.max()) + 1)[color_to_column[possible]]
    rows, columns = np.nonzero(wanted)
    column, probability = np.empty(len(rows), np.uint8), np.empty(len(rows), np.float32)
    tiles = rows // _TILE * (width // _TILE + 1) + columns // _TILE
    for tile in np.unique(tiles):
        here = np.flatnonzero(tiles == tile)
        views = _tile_logits(decoder, mask, rows[here], columns[here], colors, EFFORTS[effort].mirrored)
        shares = views[0].softmax(1) @ counts_for
        for view in views[1:]:
            shares = shares + view.softmax(1) @ counts_for
        best = (shares / len(views)).max(1)
        column[here], probability[here] = best.indices.numpy(), best.values.numpy()
    return Decisions(column, probability)


def _tile_logits(
    decoder: MaskDecoder,
    mask: UInt8Array,
    rows: IndexArray,
    columns: IndexArray,
    colors: Tensor,
    mirrored: bool,
) -> list[Tensor]:
    """(n, colours) for pixels of one tile, seen with as much around it as the network looks at; once or twice."""
    top, left = (max(0, int(axis[0]) // _TILE * _TILE - decoder.reach) for axis in (rows, columns))
    bottom, right = ((int(axis[0]) // _TILE + 1) * _TILE + decoder.reach for axis in (rows, columns))
    around = torch.from_numpy(mask[top:bottom, left:right].astype(np.float32))
    image = around.mul_(1 / 255).sub_(0.5).permute(2, 0, 1)[None]
    rows, columns = rows - top, columns - left
    logits = [decoder.logits_at(image, rows, columns, colors)]
    if mirrored:
        logits.append(decoder.logits_at(image.flip(3), rows, image.shape[3] - 1 - columns, colors))
    return logits


@lru_cache(maxsize=len(EFFORTS))
def load_mask_decoder(effort: str) -> MaskDecoder:
    """The shipped network of that size, ready for inference."""
    with np.load(Path(__file__).with_name(f"mask_decoder_{effort}.npz"), allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    with torch.device("meta"):  # weights to be replaced need no values, least of all from a training's random numbers
        decoder = MaskDecoder(EFFORTS[effort].channels, EFFORTS[effort].depth)
    decoder.load_state_dict(state, assign=True)
    # In channels-last order, in which a mask lies in memory, convolutions on a CPU are fastest.
    decoder.stem.weight.data = decoder.stem.weight.data.contiguous(memory_format=torch.channels_last)
    return decoder.eval().requires_grad_(False)
