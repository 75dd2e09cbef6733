"""The Triton kernels for small logits, which are upsampled bilinearly on the way.

They go by **cells**, the rectangles between four neighbouring sources. All pixels of a cell have the same four sources,
which are loaded once; and a cell gathers what its pixels give to the gradient of these four: each pixel is visited once
a pass, and nothing is added atomically. Row ``i`` of h + 1 lies between the sources ``i - 1`` and ``i``; at the border
both are the nearest one. Columns likewise.

Coordinates are fractions of whole numbers: pixel ``x`` lies at source ``(x * step + offset) / unit``.
"""

from __future__ import annotations

from cityseg_ext.functional.focal_dice_kernels import add_pixels, gradient_of, jit, read_pixels, store_sums, tl


@jit
def first_of(cell, step, offset, unit, size):
    """The first of the pixels of a row or column of cells; they end where those of the next one begin."""
    return tl.minimum((tl.maximum((cell - 1) * unit - offset, 0) + step - 1) // step, size)


@jit
def columns_of(width, step, offset, unit, BLOCK: tl.constexpr, SPAN: tl.constexpr):
    """Of B pixels, ``SPAN`` for each cell: the cells, x, whether there is such a pixel, and how far across."""
    lane = tl.arange(0, BLOCK)
    cell = tl.program_id(0) * (BLOCK // SPAN) + lane // SPAN
    x = first_of(cell, step, offset, unit, width) + lane % SPAN
    return cell, x, x < first_of(cell + 1, step, offset, unit, width), x * step + offset - (cell - 1) * unit


@jit
def corners_of(cell, small_height, small_width, stride_h, stride_w):
    """Offsets of the four sources of cells: of the upper, lower, left (B,) and right (B,) ones."""
    row = tl.program_id(1)
    upper, lower = tl.maximum(row - 1, 0).to(tl.int64), tl.minimum(row, small_height - 1).to(tl.int64)
    left, right = tl.maximum(cell - 1, 0).to(tl.int64), tl.minimum(cell, small_width - 1).to(tl.int64)
    return upper * stride_h, lower * stride_h, left * stride_w, right * stride_w


@jit
def edge_of(at, left, right, across, there, DTYPE: tl.constexpr):
    """Logits on the upper or lower edges of cells, ``across`` of the way from the left to the right source."""
    left, right = at + left, at + right
    if len(left.shape) == 2:
        left, right = tl.max_contiguous(left, [1, 2]), tl.max_contiguous(right, [1, 2])
    start = tl.load(left, mask=there, other=0).to(DTYPE)
    return start + across * (tl.load(right, mask=there, other=0).to(DTYPE) - start)


@jit
def cell_sums_kernel(
    logits, stride_n, stride_c, stride_h, stride_w, small_height, small_width,
    target, pixel_weight, class_weight, out, height, width, step_y, offset_y, unit_y, step_x, offset_x, unit_x,
    CLASSES: tl.constexpr, PADDED: tl.constexpr, GAMMA: tl.constexpr, VOID: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Program (j, i, n) sums up the j-th ``BLOCK // SPAN`` cells of row i in image n, into ``out[n, i, j]``, (4, P)."""
    row, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    logits += image * stride_n
    cell, x, inside, across = columns_of(width, step_x, offset_x, unit_x, BLOCK, SPAN)
    across = across.to(DTYPE) / unit_x
    upper, lower, left, right = corners_of(cell, small_height, small_width, stride_h, stride_w)
    classes = tl.arange(0, PADDED).to(tl.int64)[:, None]
    of_right, there = across[None, :], (classes < CLASSES) & inside[None, :]
    at = logits + classes * stride_c
    top = edge_of(at + upper, left[None, :], right[None, :], of_right, there, DTYPE)
    slope = edge_of(at + lower, left[None, :], right[None, :], of_right, there, DTYPE) - top
    focal = tl.zeros((BLOCK,), DTYPE)
    bad = tl.zeros((BLOCK,), DTYPE)
    overlap = tl.zeros((PADDED, BLOCK), DTYPE)
    predicted = tl.zeros((PADDED, BLOCK), DTYPE)
    actual = tl.zeros((PADDED, BLOCK), DTYPE)
    last = first_of(row + 1, step_y, offset_y, unit_y, height)
    for y in range(first_of(row, step_y, offset_y, unit_y, height), last):
        pixel = (image * height + y) * width + x
        label, weight, wrong = read_pixels(target, pixel_weight, pixel, inside, CLASSES, VOID, DTYPE)
        down = (y * step_y + offset_y - (row - 1) * unit_y).to(DTYPE) / unit_y
        # Void logits are replaced, so that not even a NaN there matters.
        values = tl.where(label[None, :] < 0, 0.0, top + down * slope)
        at_true = logits + label.to(tl.int64) * stride_c
        of_true = edge_of(at_true + upper, left, right, across, label >= 0, DTYPE)
        of_true += down * (edge_of(at_true + lower, left, right, across, label >= 0, DTYPE) - of_true)
        focal, overlap, predicted, actual = add_pixels(
            focal, overlap, predicted, actual, values, of_true, label, weight, class_weight, CLASSES, PADDED, GAMMA
        )
        bad += wrong
    program = (image * tl.num_programs(1) + row) * tl.num_programs(0) + tl.program_id(0)
    store_sums(out + program * 4 * PADDED, focal, overlap, predicted, actual, bad, PADDED)


@jit
def cell_gradient_kernel(
    logits, stride_n, stride_c, stride_h, stride_w, small_height, small_width,
    target, pixel_weight, class_weight, out, by_focal, by_overlap, by_predicted,
    height, width, step_y, offset_y, unit_y, step_x, offset_x, unit_x,
    CLASSES: tl.constexpr, PADDED: tl.constexpr, GAMMA: tl.constexpr, VOID: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """What these cells give to their four sources: ``out[upper or lower, left or right, n, class, i, cell]``."""
    row, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    logits += image * stride_n
    cell, x, inside, across = columns_of(width, step_x, offset_x, unit_x, BLOCK, SPAN)
    across = across.to(DTYPE) / unit_x
    upper, lower, left, right = corners_of(cell, small_height, small_width, stride_h, stride_w)
    classes = tl.arange(0, PADDED).to(tl.int64)[:, None]
    of_right, there = across[None, :], (classes < CLASSES) & inside[None, :]
    at = logits + classes * stride_c
    top = edge_of(at + upper, left[None, :], right[None, :], of_right, there, DTYPE)
    slope = edge_of(at + lower, left[None, :], right[None, :], of_right, there, DTYPE) - top
    whole = tl.zeros((PADDED, BLOCK), DTYPE)
    of_lower = tl.zeros((PADDED, BLOCK), DTYPE)
    last = first_of(row + 1, step_y, offset_y, unit_y, height)
    for y in range(first_of(row, step_y, offset_y, unit_y, height), last):
        pixel = (image * height + y) * width + x
        label, weight, _ = read_pixels(target, pixel_weight, pixel, inside, CLASSES, VOID, DTYPE)
        down = (y * step_y + offset_y - (row - 1) * unit_y).to(DTYPE) / unit_y
        values = tl.where(label[None, :] < 0, 0.0, top + down * slope)
        at_true = logits + label.to(tl.int64) * stride_c
        of_true = edge_of(at_true + upper, left, right, across, label >= 0, DTYPE)
        of_true += down * (edge_of(at_true + lower, left, right, across, label >= 0, DTYPE) - of_true)
        gradient = gradient_of(
            values, of_true, label, weight, class_weight, by_focal, by_overlap, by_predicted, image,
            CLASSES, PADDED, GAMMA,
        )  # fmt: skip
        whole += gradient
        of_lower += down * gradient
    of_upper = whole - of_lower
    cells = (tl.program_id(0) * (BLOCK // SPAN) + tl.arange(0, BLOCK // SPAN))[None, :]
    at = out + ((image * CLASSES + classes) * (small_height + 1) + row) * (small_width + 1) + cells
    quarter = tl.num_programs(2).to(tl.int64) * CLASSES * (small_height + 1) * (small_width + 1)
    there = (classes < CLASSES) & (cells <= small_width)
    tl.store(at, over_span(of_upper * (1 - of_right), SPAN), mask=there)
    tl.store(at + quarter, over_span(of_upper * of_right, SPAN), mask=there)
    tl.store(at + 2 * quarter, over_span(of_lower * (1 - of_right), SPAN), mask=there)
    tl.store(at + 3 * quarter, over_span(of_lower * of_right, SPAN), mask=there)


@jit
def over_span(values, SPAN: tl.constexpr):
    """Sums (P, B / SPAN) over the pixels of a cell."""
    return tl.sum(tl.reshape(values, (values.shape[0], values.shape[1] // SPAN, SPAN)), 2)
