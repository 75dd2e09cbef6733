"""Fully connected conditional random field: labels that follow the edges of the photograph."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cityseg_ext.checks import check_at_least, expected
from cityseg_ext.functional.bilateral_grid import BilateralGrid

_BLOCK = 16
"""Rows, or columns, that one matrix smooths: enough for fast products, few enough to waste little outside the band."""

_STRIP = 128
"""Rows worked on together, in whole blocks: few enough for a processor's cache, enough to keep its threads busy."""

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
    grid = None
    if steps and appearance_weight > 0:
        grid = BilateralGrid(image.to(log_p.device), appearance_sigma_xy, appearance_sigma_rgb, dtype)
        norm = grid.blur(grid.cell_sizes).clamp_min(torch.finfo(dtype).tiny).rsqrt()
        cells = grid.cell_of_pixel.view(height, width)
    smoothing = _Smoothing(log_p, smooth_sigma, smooth_weight if steps else 0)
    q, spare = smoothing.room(), smoothing.room()
    inside = slice(smoothing.reach, smoothing.reach + height)
    torch.softmax(log_p, dim=2, out=q[inside])
    strip = torch.empty_like(log_p[:_STRIP])
    for _ in range(steps):
        if grid is not None:
            message = grid.blur(grid.cell_sums(q[inside].flatten(0, 1)).mul_(norm)).mul_(appearance_weight * norm)
        for top in range(0, height, _STRIP):
            unary = log_p[top : top + _STRIP]
            logits = strip[: len(unary)]
            if grid is None:
                logits.copy_(unary)
            else:
                torch.index_select(message, 0, cells[top : top + _STRIP].flatten(), out=logits.flatten(0, 1))
                logits += unary
            smoothing.add(logits, q, top)
            torch.softmax(logits, dim=2, out=spare[inside][top : top + _STRIP])
        q, spare = spare, q
    del spare, log_p
    return q[inside].flatten(0, 1).t().contiguous().view(classes, height, width)


class _Smoothing:
    """The smoothness kernel on strips of an image (H, W, C): along columns, then along rows.

    The kernel of an image is the product of those of its columns and rows, and so is its norm. Sums run over blocks of
    lines with zeros around them, all blocks in one product of matrices: a few large operations, not many small ones.

    Attributes:
        reach: lines of zeros before the first row and, at least, after the last one; 0 if the weight is.
    """

    def __init__(self, like: Tensor, sigma: float, weight: float) -> None:
        self._like = like
        height, width, classes = like.shape
        # Past the image there is nothing to reach, however wide the kernel.
        self.reach = max(1, math.ceil(min(_TRUNCATE * sigma, max(height, width)))) if weight > 0 else 0
        if self.reach:
            self._down = smoothing_blocks(height, sigma, self.reach).to(like)
            self._right = weight * smoothing_blocks(width, sigma, self.reach).to(like)
            self._columns = self._zeros_around(width, min(_STRIP, height), classes)

    def room(self) -> Tensor:
        """An image of zeros with zeros around it."""
        return self._zeros_around(*self._like.shape)

    def add(self, logits: Tensor, image: Tensor, top: int) -> None:
        """Add to a strip's logits what is smoothed of the image, which has zeros around it, from row ``top`` on."""
        if not self.reach:
            return
        rows, width, _ = logits.shape
        blocks = self._down[top // _BLOCK : (top + _STRIP) // _BLOCK]
        smoothed = _products(blocks, image[top : top + len(blocks) * _BLOCK + 2 * self.reach])[:rows]
        columns = self._columns[:, :rows]
        columns[self.reach : self.reach + width] = smoothed.transpose(0, 1)
        logits += _products(self._right, columns)[:width].transpose(0, 1)

    def _zeros_around(self, length: int, *line: int) -> Tensor:
        return self._like.new_zeros(length + -length % _BLOCK + 2 * self.reach, *line)


def _products(blocks: Tensor, lines: Tensor) -> Tensor:
    """Each block (B, B + 2 reach) times the lines it is about, which are views: (L + 2 reach, ...) -> (L, ...)."""
    windows = lines.flatten(1).unfold(0, blocks.shape[2], _BLOCK).transpose(1, 2)
    return torch.bmm(blocks, windows).view(-1, *lines.shape[1:])


def smoothing_blocks(length: int, sigma: float, reach: int) -> Tensor:
    """The Gaussian kernel along a line of pixels, normalised symmetrically, in blocks of rows.

    Returns:
        float64 (blocks, B, B + 2 reach): what a block's pixels take from those up to ``reach`` before and after.

    Example:
        >>> smoothing_blocks(3, sigma=1.0, reach=1)[0, :3, :5].round(decimals=2).tolist()
        [[0.0, 0.62, 0.32, 0.0, 0.0], [0.0, 0.32, 0.45, 0.32, 0.0], [0.0, 0.0, 0.32, 0.62, 0.0]]
    """
    start = torch.arange(0, length, _BLOCK)[:, None, None]
    row, column = start + torch.arange(_BLOCK)[:, None], start + torch.arange(-reach, _BLOCK + reach)
    counts = ((row - column).abs() <= reach) & (column >= 0) & (column < length) & (row < length)
    kernel = torch.exp(-(((row - column).double() / sigma) ** 2) / 2) * counts
    norm = kernel.sum(dim=2, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
    norm_of_columns = F.pad(norm.flatten(), (reach, reach)).unfold(0, _BLOCK + 2 * reach, _BLOCK)[:, None]
    return norm * kernel * norm_of_columns


def check_crf_inputs(image: Tensor, probabilities: Tensor) -> None:
    """Raise ``ValueError`` unless these are uint8 (H, W, 3) and floating point (C, H, W)."""
    if probabilities.ndim != 3 or not probabilities.is_floating_point() or not probabilities.numel():
        value = f"{probabilities.dtype} {tuple(probabilities.shape)}"
        raise ValueError(expected("probabilities", "floating point (C, H, W) of at least one pixel", value))
    size = tuple(probabilities.shape[1:])
    if image.dtype != torch.uint8 or tuple(image.shape) != (*size, 3):
        value = f"{image.dtype} {tuple(image.shape)}"
        raise ValueError(expected("image", f"uint8 {(*size, 3)}, of the probabilities' size", value))
