"""The small network that tells which of the classes that meet at a border a mixed pixel belongs to.

Smoothing and JPEG mix the colours of neighbours: along borders a mask has colours of no class, or of a third one.
What a pixel was follows from the pixels around it. The network looks at 2 x 2 pixels at a time, the grid on which JPEG
stores its colour at half resolution, and corrects the nearest palette colour, where it starts from before it has learnt
anything. It was trained on rendered scenes by ``tools/train_mask_decoder.py``; no photograph and no real mask is behind
it. Two sizes are shipped as ``mask_decoder_<effort>.npz`` beside this file: fixed tables, as the palette is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cityseg_ext.labels import COLORS

UInt8Array = npt.NDArray[np.uint8]

EFFORTS = {"fast": (32, 2), "best": (64, 6)}
"""The sizes that are shipped: name -> (channels, convolutions)."""

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
    def _start_at_the_nearest_color(self, sharpness: float = 30.0) -> None:
        """Minus the squared distance to a colour is linear in the pixel, but for a term that all colours share."""
        colors = torch.tensor(COLORS) / 255 - 0.5
        self.head.weight.mul_(0.1)
        direct = self.head.weight[:, -12:].view(len(COLORS), 4, 3, 4).zero_()
        for place in range(4):
            direct[:, place, :, place] = 2 * sharpness * colors
        self.head.bias.copy_((-sharpness * colors.square().sum(1)).repeat_interleave(4))

    def features(self, image: Tensor) -> Tensor:
        """What is known about every 2 x 2 cell, (N, channels, H / 2, W / 2)."""
        hidden = self.stem(image).relu_()
        for convolution in self.body:
            hidden = hidden + convolution(hidden).relu_()
        return hidden

    def logits(self, features: Tensor, cells: Tensor) -> Tensor:
        """(n, C, 4) from features (n, channels) and the cells' own pixels (n, 12), each channel's four together."""
        return self.head(torch.cat([features, cells], 1)).view(-1, len(COLORS), 4)

    def forward(self, image: Tensor) -> Tensor:
        number, _, height, width = image.shape
        features = self.features(image).permute(0, 2, 3, 1).flatten(0, 2)
        cells = F.pixel_unshuffle(image, 2).permute(0, 2, 3, 1).flatten(0, 2)
        logits = self.logits(features, cells).flatten(1).view(number, height // 2, width // 2, -1)
        return F.pixel_shuffle(logits.permute(0, 3, 1, 2), 2)


@dataclass(frozen=True)
class Decisions:
    """What the network says about the pixels that it was asked about; 0 at all others.

    Attributes:
        column: uint8 (H, W), the most likely column.
        probability: float32 (H, W), 0 to 1, how likely it is.
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
        The decisions, (H, W).
    """
    decoder = load_mask_decoder(effort)
    height, width = wanted.shape
    if height % 2 or width % 2:  # cells are of 2 x 2 pixels
        padding = ((0, height % 2), (0, width % 2))
        mask, wanted = np.pad(mask, (*padding, (0, 0)), mode="edge"), np.pad(wanted, padding)
    possible = torch.from_numpy(color_to_column >= 0)
    counts_for = torch.zeros(len(COLORS), int(color_to_column.max()) + 1)
    counts_for[possible, torch.from_numpy(color_to_column)[possible].long()] = 1
    column, probability = np.zeros(wanted.shape, np.uint8), np.zeros(wanted.shape, np.float32)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            quads = _quads(wanted[top : top + _TILE, left : left + _TILE])
            if not quads.any():
                continue
            with torch.inference_mode():
                logits = _logits(decoder, mask, quads, top, left).masked_fill_(~possible, -torch.inf)
                best = (logits.softmax(1) @ counts_for).max(1)
            for whole, values in ((column, best.indices), (probability, best.values)):
                tile = _quads(whole[top : top + _TILE, left : left + _TILE])
                tile[quads] = values.numpy()
    return Decisions(column[:height, :width], probability[:height, :width])


def _quads(tile: npt.NDArray) -> npt.NDArray:
    """A view of (H, W) as (H / 2, W / 2, 2, 2): the four pixels of every cell."""
    height, width = tile.shape
    down, right = tile.strides
    return np.lib.stride_tricks.as_strided(tile, (height // 2, width // 2, 2, 2), (2 * down, 2 * right, down, right))


def _logits(decoder: MaskDecoder, mask: UInt8Array, quads: npt.NDArray[np.bool_], top: int, left: int) -> Tensor:
    """(n, C) for the n pixels set in one tile, which is seen with as much around it as the network looks at."""
    margin = decoder.reach
    first_row, first_column = max(0, top - margin), max(0, left - margin)
    around = mask[first_row : top + _TILE + margin, first_column : left + _TILE + margin]
    # The memory is in channels-last order already, in which convolutions on a CPU are fastest.
    image = torch.from_numpy(around.astype(np.float32)).div_(255).sub_(0.5).permute(2, 0, 1)[None]
    features = decoder.features(image)[0]
    needed = quads.any((2, 3))
    rows, columns = (torch.from_numpy(axis) for axis in np.nonzero(needed))
    rows, columns = rows + (top - first_row) // 2, columns + (left - first_column) // 2
    own = image[0].unfold(1, 2, 2).unfold(2, 2, 2)[:, rows, columns]  # (3, cells, 2, 2)
    logits = decoder.logits(features[:, rows, columns].T, own.transpose(0, 1).flatten(1))  # (cells, C, 4)
    return logits.transpose(1, 2)[torch.from_numpy(quads[needed].reshape(-1, 4))]


@lru_cache(maxsize=len(EFFORTS))
def load_mask_decoder(effort: str) -> MaskDecoder:
    """The shipped network of that size, ready for inference."""
    with np.load(Path(__file__).with_name(f"mask_decoder_{effort}.npz"), allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    decoder = MaskDecoder(*EFFORTS[effort])
    decoder.load_state_dict(state)
    for weight in decoder.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return decoder.eval().requires_grad_(False)
