"""Fully connected conditional random field: labels that follow the edges of the photograph."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cityseg_ext.checks import check_at_least, expected
from cityseg_ext.functional.bilateral_grid import BilateralGrid

_BLOCK = 32
"""Rows, and columns, worked on together: enough for fast products of matrices, few enough for a processor's cache."""

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

    Memory besides input and result, in units of the probabilities: about 2, and that of the grid.

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
    p = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    # Pixels are rows: sums over cells, products along columns and the softmax all read memory in order.
    log_p = p.clamp_min(torch.finfo(p.dtype).tiny).log().permute(1, 2, 0).contiguous()
    q = log_p.softmax(dim=2)
    down = grid = None
    if steps and smooth_weight > 0:
        down, right = (smoothing_matrix(length, smooth_sigma).to(q) for length in (height, width))
        right *= smooth_weight
    if steps and appearance_weight > 0:
        grid = BilateralGrid(image.to(q.device), appearance_sigma_xy, appearance_sigma_rgb, q.dtype)
        norm = grid.blur(grid.cell_sizes).clamp_min(torch.finfo(q.dtype).tiny).rsqrt()
        cells = grid.cell_of_pixel.view(height, width)
    spare = torch.empty_like(q) if steps else q
    for _ in range(steps):
        if grid is not None:
            message = appearance_weight * norm * grid.blur(norm * grid.cell_sums(q.view(-1, classes)))
        for top in range(0, height, _BLOCK):
            rows = slice(top, top + _BLOCK)
            logits = log_p[rows].clone()
            if grid is not None:
                logits += message.index_select(0, cells[rows].flatten()).view_as(logits)
            if down is not None:
                _add_smoothed(logits, q, top, down, right, _reach(smooth_sigma))
            torch.softmax(logits, dim=2, out=spare[rows])
        q, spare = spare, q
    return q.permute(2, 0, 1).contiguous()


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


def _add_smoothed(logits: Tensor, q: Tensor, top: int, down: Tensor, right: Tensor, reach: int) -> None:
    """Smooth the rows of (H, W, C) from ``top`` on, along columns and then along rows, and add them to logits."""
    width = q.shape[1]
    rows, near = slice(top, top + len(logits)), slice(max(0, top - reach), top + len(logits) + reach)
    part = (down[rows, near] @ q[near].flatten(1)).view_as(logits)
    for left in range(0, width, _BLOCK):
        columns, near = slice(left, left + _BLOCK), slice(max(0, left - reach), left + _BLOCK + reach)
        logits[:, columns].baddbmm_(right[columns, near].expand(len(part), -1, -1), part[:, near])


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
