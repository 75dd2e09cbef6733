"""Training of the network behind ``mode='robust'``, on rendered label maps alone.

Maps come from the built-in scenes, changed so that the network learns how colours mix and not what streets look like:
classes are swapped for random ones, edges wobble, things of any class are drawn in, seams of void and speckle run along
borders. Then they are resized and compressed as masks in the wild are, by filters, factors, qualities and subsamplings
drawn at random.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset

from cityseg_ext.apis.mask_damage import FILTERS, SUBSAMPLINGS, damage_mask
from cityseg_ext.checks import check_at_least, check_choice, expected
from cityseg_ext.functional.mask_decoder import EFFORTS, MaskDecoder
from cityseg_ext.functional.synthetic import render_scene
from cityseg_ext.labels import COLOR_ALIASES, COLORS, LABEL_BY_NAME, LABELS
from cityseg_ext.whole_file import check_writable, write_whole

UInt8Array = npt.NDArray[np.uint8]

STEPS = {"fast": 8000, "best": 9000}
_LEARNING_RATE = {"fast": 4e-3, "best": 2e-3}
_PALETTE = np.array(COLORS, np.uint8)
_SMOOTH = [name for name in FILTERS if name != "nearest"]
_BAND = 7  # side of the window in which another class makes a pixel one of a border
_SCENES_FROM = 10_000  # seeds that no test, benchmark or demo draws from


def train_mask_decoder(
    effort: str,
    out: str | Path,
    steps: int | None = None,
    num_scenes: int = 150,
    batch_size: int = 12,
    patch_size: int = 128,
    seed: int = 0,
    bf16: bool = True,
    progress: Callable[[int, int, float], None] | None = None,
) -> Path:
    """Train a mask decoder and write its weights.

    Args:
        effort: which size: a key of ``mask_decoder.EFFORTS``.
        out: the ``.npz`` file to write.
        steps: how many; by default what the shipped weights had.
        num_scenes: scenes to draw patches from, rendered first.
        batch_size: patches a step.
        patch_size: side of a patch, in pixels of the damaged mask.
        seed: of everything that is random.
        bf16: compute in bfloat16 where that loses nothing.
        progress: called with (steps done, steps in all, running mean of the loss).

    Returns:
        The file.

    Raises:
        ValueError: if an option is out of range, or ``out`` is a folder.
        OSError: if the file cannot be written.
    """
    check_choice("effort", effort, EFFORTS)
    steps = STEPS[effort] if steps is None else steps
    check_at_least("steps", steps, 1)
    out = Path(out)
    if out.is_dir():
        raise ValueError(expected("out", "a file", f"the folder '{out}'"))
    check_writable("out", out.parent)  # before hours are spent
    torch.manual_seed(seed)
    decoder = MaskDecoder(EFFORTS[effort].channels, EFFORTS[effort].depth).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(decoder.parameters(), _LEARNING_RATE[effort], weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE[effort], total_steps=steps, pct_start=0.1)
    average = {name: value.clone() for name, value in decoder.state_dict().items()}
    patches = DataLoader(DamagedPatches(num_scenes, patch_size, seed), batch_size, num_workers=1, prefetch_factor=8)
    running = 0.0
    for step, (images, truth) in zip(range(1, steps + 1), patches, strict=False):
        images = (images.float() / 255 - 0.5).permute(0, 3, 1, 2)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = decoder(images)
        chosen = _near_borders(truth) | (torch.rand(truth.shape) < 0.03)
        loss = F.cross_entropy(logits.permute(0, 2, 3, 1)[chosen].float(), truth[chosen].long())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        keep = min(0.998, step / (step + 9))
        for name, value in decoder.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        running += (loss.item() - running) * max(0.02, 1 / step)
        if progress is not None:
            progress(step, steps, running)
    data = io.BytesIO()
    np.savez(data, **{name: value.half().numpy() for name, value in average.items()})
    write_whole(out, data.getvalue())
    return out


class DamagedPatches(IterableDataset):
    """Endless pairs of a damaged mask, uint8 (S, S, 3) RGB, and its colours' indices in ``COLORS``, uint8 (S, S).

    Args:
        num_scenes: built-in scenes to draw from.
        size: side S of a patch.
        seed: of what is drawn.
    """

    def __init__(self, num_scenes: int, size: int, seed: int) -> None:
        self.num_scenes, self.size, self.seed = num_scenes, size, seed

    def __iter__(self) -> Iterator[tuple[UInt8Array, UInt8Array]]:
        cv2.setNumThreads(1)
        color_of = np.zeros(256, np.uint8)
        for label in LABELS:
            if label.id >= 0:
                color_of[label.id] = COLORS.index(label.color)
        scenes = [color_of[render_scene(_SCENES_FROM + n, 1024, 2048).label_ids] for n in range(self.num_scenes)]
        rng = np.random.default_rng(self.seed)
        while True:
            yield _damaged_patch(rng, scenes, self.size)


def _damaged_patch(rng: np.random.Generator, scenes: list[UInt8Array], size: int) -> tuple[UInt8Array, UInt8Array]:
    across = 2 ** (rng.uniform(-1, 3) if rng.random() < 0.7 else rng.uniform(0, 1.2))
    down = float(np.clip(across * 2 ** rng.normal(0, 0.4), 0.4, 8))
    if rng.random() < 0.12:
        across = down = 1.0
    colors = _label_map(rng, scenes, max(16, round(size * down)), max(16, round(size * across)))
    truth = cv2.resize(colors, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    usual = ("area", "area", "linear", "bilinear", "bicubic")  # common ones twice and more
    quality = None
    if rng.random() < 0.94:
        quality = int(rng.choice([rng.integers(30, 101), rng.integers(70, 101), 75, 90, 95]))
    subsampling = str(rng.choice([*SUBSAMPLINGS, "4:2:0", "4:2:0"]))
    mask = damage_mask(_PALETTE[colors], size, size, str(rng.choice([*_SMOOTH, *usual])), quality, subsampling)
    if rng.random() < 0.07:  # saved twice
        mask = damage_mask(mask, size, size, "area", int(rng.integers(60, 100)), subsampling)
    return np.array(mask), truth  # Pillow gives read-only arrays


def _label_map(rng: np.random.Generator, scenes: list[UInt8Array], height: int, width: int) -> UInt8Array:
    """A piece of a scene, uint8 (H, W) of indices in ``COLORS``, changed in random ways."""
    scene = scenes[rng.integers(len(scenes))]
    coarse = int(rng.choice([1, 1, 2, 2, 3]))  # how fine the labels themselves are
    top = rng.integers(max(1, scene.shape[0] - height * coarse))
    left = rng.integers(max(1, scene.shape[1] - width * coarse))
    piece = scene[top : top + height * coarse : coarse, left : left + width * coarse : coarse]
    piece = cv2.resize(piece, (width, height), interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        piece = np.ascontiguousarray(piece[:, ::-1])
    if rng.random() < 0.45:
        swapped = np.arange(len(COLORS), dtype=np.uint8)
        for color in np.unique(piece):
            if rng.random() < 0.6:
                swapped[color] = rng.integers(len(COLORS))
        piece = swapped[piece]
    if rng.random() < 0.4:
        piece = _wobble(rng, piece)
    if rng.random() < 0.6:
        for _ in range(rng.integers(7)):
            _draw_something(rng, piece)
    if rng.random() < 0.35:
        _draw_seams(rng, piece)
    if rng.random() < 0.1:
        for alias, name in COLOR_ALIASES.items():
            piece[piece == COLORS.index(LABEL_BY_NAME[name].color)] = COLORS.index(alias)
    return piece


def _wobble(rng: np.random.Generator, piece: UInt8Array) -> UInt8Array:
    """Edges as an unsteady hand draws them."""
    height, width = piece.shape
    wave, strength = int(rng.integers(4, 24)), rng.uniform(0.5, 3)
    moves = [rng.normal(0, strength, (height // wave + 2, width // wave + 2)).astype(np.float32) for _ in range(2)]
    across, down = (cv2.resize(move, (width, height), interpolation=cv2.INTER_CUBIC) for move in moves)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(piece, columns + across, rows + down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def _draw_something(rng: np.random.Generator, piece: UInt8Array) -> None:
    """A thin line, more often than not, an ellipse or a rectangle, of any class."""
    height, width = piece.shape
    x, y, color, kind = (
        int(rng.integers(width)),
        int(rng.integers(height)),
        int(rng.integers(len(COLORS))),
        rng.random(),
    )
    if kind < 0.5:
        if rng.random() < 0.45:
            color = COLORS.index(LABEL_BY_NAME["pole"].color)
        angle = rng.normal(0, 0.05) if rng.random() < 0.7 else np.pi / 2 + rng.normal(0, 0.6)
        length = rng.integers(10, 150)
        end = (int(x + length * np.sin(angle)), int(y + length * np.cos(angle)))
        cv2.line(piece, (x, y), end, color, int(rng.integers(1, 7)))
    elif kind < 0.8:
        axes = (int(rng.integers(2, 25)), int(rng.integers(2, 25)))
        cv2.ellipse(piece, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, color, -1)
    else:
        cv2.rectangle(piece, (x, y), (x + int(rng.integers(2, 40)), y + int(rng.integers(2, 40))), color, -1)


def _draw_seams(rng: np.random.Generator, piece: UInt8Array) -> None:
    """Void, or rarely something else, along some of the borders, whole or as speckle."""
    height, width = piece.shape
    edges = piece != cv2.dilate(piece, np.ones((3, 3), np.uint8))
    places = cv2.resize(rng.random((height // 16 + 1, width // 16 + 1)).astype(np.float32), (width, height))
    edges &= places > rng.uniform(0.3, 0.8)
    if rng.random() < 0.5:
        edges &= rng.random((height, width)) < rng.uniform(0.1, 0.9)
    void = COLORS.index(LABEL_BY_NAME["unlabeled"].color)
    piece[edges] = void if rng.random() < 0.8 else rng.integers(len(COLORS))


def _near_borders(truth: torch.Tensor) -> torch.Tensor:
    """Bool (N, H, W): another class is within a few pixels."""
    planes = truth.float()[:, None]
    pools = [F.max_pool2d(sign * planes, _BAND, 1, _BAND // 2) for sign in (1, -1)]
    return (pools[0] != -pools[1])[:, 0]
