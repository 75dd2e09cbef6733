"""Class maps from logits of low resolution, a few rows at a time: logits of full resolution never exist as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

STRIP = 2**20
"""Logits of a strip: 4 MiB of float32. Larger strips are no faster on a CPU, and a GPU is not the bottleneck here."""


def strip_rows(classes: int, width: int) -> int:
    """How many rows of so many logits make a strip.

    Example:
        >>> strip_rows(classes=19, width=2048)
        26
    """
    return max(1, STRIP // max(1, classes * width))


def resized_rows(
    rows: Iterable[Tensor], sources: int, size: tuple[int, int], align_corners: bool = False
) -> Iterator[Tensor]:
    """Resize an image that comes in strips, from its top to its bottom, as ``F.interpolate`` does with ``'bilinear'``.

    Rows that are needed no longer are let go: the memory is that of a strip before and a strip after, whatever the
    size of the image.

    Args:
        rows: (C, any number of rows, w) float strips, all of one width.
        sources: how many rows these are together.
        size: (H, W) to resize to.
        align_corners: as in ``F.interpolate``.

    Yields:
        (C, rows, W) strips; together they have H rows. Equal to ``F.interpolate`` of the whole to rounding.

    Example:
        >>> whole = torch.rand(2, 6, 4)
        >>> strips = resized_rows(whole.split(4, dim=1), sources=6, size=(9, 8))
        >>> expected = F.interpolate(whole[None], (9, 8), mode='bilinear')[0]
        >>> torch.allclose(torch.cat(list(strips), dim=1), expected)
        True
    """
    height, width = size
    lower, upper, weight = _taps(sources, height, align_corners)
    done = first = 0  # rows that were yielded; the number of the first row that is kept
    kept: Tensor | None = None
    for strip in rows:
        kept = strip if kept is None else torch.cat([kept, strip], dim=1)
        ready = int(torch.searchsorted(upper, first + kept.shape[1]))
        chunk = strip_rows(kept.shape[0], width)
        for start in range(done, ready, chunk):
            part = slice(start, min(start + chunk, ready))
            yield _widened(_blended(kept, lower[part] - first, upper[part] - first, weight[part]), width, align_corners)
        done = max(done, ready)
        needless = min(kept.shape[1], int(lower[done]) - first) if done < height else kept.shape[1]
        kept, first = kept[:, needless:], first + needless


def cropped_rows(rows: Iterable[Tensor], top: int, left: int, size: tuple[int, int]) -> Iterator[Tensor]:
    """Cut a window out of an image that comes in strips.

    Args:
        rows: (C, any number of rows, w) strips.
        top, left: the window's first row and column.
        size: its height and width.

    Yields:
        (C, rows, width) strips.

    Example:
        >>> strips = cropped_rows(torch.arange(12).view(1, 4, 3).split(3, dim=1), top=1, left=0, size=(3, 2))
        >>> torch.cat(list(strips), dim=1)[0].tolist()
        [[3, 4], [6, 7], [9, 10]]
    """
    at = 0
    for strip in rows:
        start, stop = max(top - at, 0), min(top + size[0] - at, strip.shape[1])
        if start < stop:
            yield strip[:, start:stop, left : left + size[1]]
        at += strip.shape[1]


def best_class(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The class with the largest logit, and how sure that is.

    Args:
        logits: (C, H, W), any floating type; C at most 255.

    Returns:
        uint8 (H, W) class indices, of equal ones the first; float32 (H, W) their softmax probabilities, 1/C to 1.

    Example:
        >>> classes, confidence = best_class(torch.tensor([0.0, 0.0, 2.0, 0.0]).view(4, 1, 1))
        >>> classes.item(), round(confidence.item(), 3)
        (2, 0.711)
    """
    best, classes = logits.max(dim=0)
    return classes.to(torch.uint8), (best - logits.logsumexp(dim=0)).exp().float()


def _taps(sources: int, results: int, align_corners: bool) -> tuple[Tensor, Tensor, Tensor]:
    """For each result: the two sources that it lies between, and the weight of the second; as PyTorch has them."""
    place = torch.arange(results, dtype=torch.float64)
    if align_corners:
        place = place * ((sources - 1) / (results - 1) if results > 1 else 0)
    else:
        place = ((place + 0.5) * (sources / results) - 0.5).clamp_min(0)
    lower = place.floor().long().clamp(max=sources - 1)
    return lower, (lower + 1).clamp(max=sources - 1), place - lower


def _blended(kept: Tensor, lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    lower, upper = lower.to(kept.device), upper.to(kept.device)
    return torch.lerp(kept[:, lower], kept[:, upper], weight.to(kept)[:, None])


def _widened(strip: Tensor, width: int, align_corners: bool) -> Tensor:
    if strip.shape[2] == width:
        return strip
    return F.interpolate(strip[None], (strip.shape[1], width), mode="bilinear", align_corners=align_corners)[0]
