"""Fully connected conditional random field: labels that follow the edges of the photograph."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cityseg_ext.checks import check_at_least, expected
from cityseg_ext.functional.bilateral_grid import BilateralGrid

_BLOCK = 32
"""Rows, or columns, that one matrix smooths: enough for fast products, few enough to waste little outside the band."""

_STRIP = 2
"""Blocks of rows worked on together: few enough for a processor's cache, enough for its threads."""

_TRUNCATE = 3
"""Where the smoothness kernel ends, in standard deviations: 0.3 % of it are farther away."""


@torch.no_grad()
def dense_crf(
    image: Tensor,
    probabilities: Tensor,
    steps: int = 5,
    smooth_weight: float = 3.0,
    smooth_sigma: float = 3.0,
    appearance_weight: float = 10.0,
    appearance_sigma_xy: float = 80.0,
    appearance_sigma_rgb: float = 13.0,
) -> Tensor:
    """Refine class probabilities by mean field inference in a fully connected CRF.

    P. Kraehenbuehl, V. Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials", NeurIPS
    2011, arXiv:1210.5644. Each step sets ``Q = softmax(log p + w_s K_s Q + w_a K_a Q)``, starting from ``Q = p``:

    * smoothness: ``K_s(i, j) = exp(-|position_i - position_j|^2 / (2 smooth_sigma^2))``, computed row by row and column
      by column, cut off at 3 sigma;
    * appearance: ``K_a(i, j) = exp(-|position_i - position_j|^2 / (2 sigma_xy^2) - |colour_i - colour_j|^2 / (2
      sigma_rgb^2))``, on a :class:`~cityseg_ext.functional.bilateral_grid.BilateralGrid`.

    As in the authors' program (and ``pydensecrf``) kernels include ``i = j`` and are normalised symmetrically,
    ``K(i, j) / sqrt(sum_k K(i, k) sum_k K(k, j))``, and labels that differ cost the same (Potts). Numbers are the same
    in every run on one machine. No gradients flow.

    Memory besides input and result, in units of the probabilities: about 3, and that of the grid.

    Args:
        image: uint8 (H, W, 3), RGB, on any device.
        probabilities: float (C, H, W), at least 0; 0 counts as the smallest number of its type.
        steps: of mean field inference; 0 gives back the probabilities.
        smooth_weight: ``w_s``, at least 0.
        smooth_sigma: in pixels, above 0.
        appearance_weight: ``w_a``, at least 0.
        appearance_sigma_xy: in pixels, at least 1.
        appearance_sigma_rgb: in grey levels of 0 to 255, at least 1.

    Returns:
        (C, H, W) of the probabilities' type (at least float32) and device; their sum over C is 1.

    Raises:
        ValueError: if shapes or types do not fit, or a number is out of range.

    Example:
        >>> image = torch.zeros(8, 8, 3, dtype=torch.uint8)
        >>> image[:, 4:] = 200
        >>> p = torch.full((2, 8, 8), 0.5)
        >>> p[0, :, :4] = 0.7; p[0, :, 4:] = 0.3; p[0, 3, 2] = 0.4  # one pixel is wrong
        >>> p[1] = 1 - p[0]
        >>> dense_crf(image, p).argmax(dim=0)[3].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    check_crf_inputs(image, probabilities)
    for name, value in dict(steps=steps, smooth_weight=smooth_weight, appearance_weight=appearance_weight).items():
        check_at_least(name, value, 0)
    if not smooth_sigma > 0:
        raise ValueError(expected("smooth_sigma", "above 0, in pixels", smooth_sigma))
    classes, height, width = probabilities.shape
    dtype = torch.promote_types(probabilities.dtype, torch.float32)
    # Pixels are rows: sums over cells, products along columns and the softmax all read memory in order.
    log_p = torch.empty(height * width, classes, dtype=dtype, device=probabilities.device)
    log_p.copy_(probabilities.flatten(1).t()).clamp_min_(torch.finfo(dtype).tiny).log_()
    log_p = log_p.view(height, width, classes)
    grid = smoothing = None
    if steps and appearance_weight > 0:
        grid = BilateralGrid(image.to(log_p.device), appearance_sigma_xy, appearance_sigma_rgb, dtype)
        norm = grid.blur(grid.cell_sizes).clamp_min(torch.finfo(dtype).tiny).rsqrt()
        cells = grid.cell_of_pixel.view(height, width)
    reach = 0
    if steps and smooth_weight > 0:
        reach = _reach(smooth_sigma)
        down, right = (_blocks(smoothing_matrix(length, smooth_sigma), reach).to(log_p) for length in (height, width))
        smoothing = down, right * smooth_weight
    q, spare = (_padded(height, reach, log_p[0]) for _ in range(2))
    inside = slice(reach, reach + height)
    torch.softmax(log_p, dim=2, out=q[inside])
    for _ in range(steps):
        if grid is not None:
            message = grid.blur(grid.cell_sums(q[inside].flatten(0, 1)).mul_(norm)).mul_(appearance_weight * norm)
        for top in range(0, height, _STRIP * _BLOCK):
            rows = slice(top, min(top + _STRIP * _BLOCK, height))
            if grid is None:
                logits = log_p[rows].clone()
            else:
                logits = message.index_select(0, cells[rows].flatten()).view_as(log_p[rows]).add_(log_p[rows])
            if smoothing is not None:
                _add_smoothed(logits, q, top, *smoothing, reach)
            torch.softmax(logits, dim=2, out=spare[inside][rows])
        q, spare = spare, q
    del spare, log_p
    return q[inside].flatten(0, 1).t().contiguous().view(classes, height, width)


def smoothing_matrix(length: int, sigma: float) -> Tensor:
    """The Gaussian kernel along a line of pixels, normalised symmetrically: float64 (length, length).

    The kernel of an image is the product of those of its columns and rows, and so is its norm.

    Example:
        >>> smoothing_matrix(3, 1.0).round(decimals=2).tolist()
        [[0.57, 0.31, 0.08], [0.31, 0.45, 0.31], [0.08, 0.31, 0.57]]
    """
    place = torch.arange(length, dtype=torch.float64)
    apart = (place[:, None] - place).abs()
    kernel = torch.exp(-((apart / sigma) ** 2) / 2) * (apart <= _reach(sigma))
    norm = kernel.sum(dim=1).rsqrt()
    return norm[:, None] * kernel * norm


def _blocks(matrix: Tensor, reach: int) -> Tensor:
    """What a band matrix holds besides zeros, in blocks of rows: (L, L) -> (blocks, _BLOCK, _BLOCK + 2 reach)."""
    padded = F.pad(matrix, (reach, -len(matrix) % _BLOCK + reach, 0, -len(matrix) % _BLOCK))
    starts = range(0, len(padded), _BLOCK)
    return torch.stack([padded[start : start + _BLOCK, start : start + _BLOCK + 2 * reach] for start in starts])


def _padded(length: int, reach: int, line: Tensor) -> Tensor:
    """Zeros for this many lines in whole blocks, and as far around them as a kernel reaches."""
    return line.new_zeros(reach + length + -length % _BLOCK + reach, *line.shape)


def _smoothed(blocks: Tensor, padded: Tensor) -> Tensor:
    """One product of matrices for all blocks, of lines that overlap and are not copied: (L + 2 reach, ...) -> (L, ...)."""
    windows = padded.flatten(1).unfold(0, blocks.shape[2], _BLOCK).transpose(1, 2)
    return torch.bmm(blocks, windows).view(-1, *padded.shape[1:])


def _add_smoothed(logits: Tensor, q: Tensor, top: int, down: Tensor, right: Tensor, reach: int) -> None:
    """Smooth a strip of the padded (H, W, C) along columns, then along rows, and add it to the strip's logits."""
    rows, width, classes = logits.shape
    blocks = down[top // _BLOCK :][:_STRIP]
    part = _smoothed(blocks, q[top : top + len(blocks) * _BLOCK + 2 * reach])[:rows]
    columns = _padded(width, reach, logits[:, 0])
    columns[reach : reach + width] = part.transpose(0, 1)
    logits += _smoothed(right, columns)[:width].transpose(0, 1)


def _reach(sigma: float) -> int:
    return max(1, math.ceil(_TRUNCATE * sigma))


def check_crf_inputs(image: Tensor, probabilities: Tensor) -> None:
    """Raise ``ValueError`` unless these are uint8 (H, W, 3) and floating point (C, H, W)."""
    if probabilities.ndim != 3 or not probabilities.is_floating_point() or not probabilities.numel():
        value = f"{probabilities.dtype} {tuple(probabilities.shape)}"
        raise ValueError(expected("probabilities", "floating point (C, H, W) of at least one pixel", value))
    size = tuple(probabilities.shape[1:])
    if image.dtype != torch.uint8 or tuple(image.shape) != (*size, 3):
        value = f"{image.dtype} {tuple(image.shape)}"
        raise ValueError(expected("image", f"uint8 {(*size, 3)}, of the probabilities' size", value))
