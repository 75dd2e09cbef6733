"""Triton kernels of the sums of the focal and the Dice term, and of their gradient, for GPUs.

Each thread holds all classes of a pixel in registers, so that a softmax needs no other thread. Programs write what they
have summed up, a few numbers each, which torch adds: nothing is atomic, so that results are the same in every run.

The formula of the gradient is in :mod:`~cityseg_ext.functional.focal_dice_blocks`. In shapes, P is ``PADDED`` classes
(a power of 2) and B is ``BLOCK`` pixels. Logarithms and powers are those of 2; 1 / log 2 is 1.4426950408889634.
"""

from __future__ import annotations

from typing import Any

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it; then nothing here is called
    triton = tl = None


def jit(kernel: Any) -> Any:
    """``triton.jit``, such that each thread gets all classes of one pixel, and neighbours get neighbours.

    Triton lays out threads along what is contiguous in memory, as many numbers for each as can be loaded at once. Hence
    it is told that pixels are contiguous (``max_contiguous``), but not how logits are aligned. It goes by aligned
    addresses only when it loads several numbers at once, so that this does no harm where pixels are apart.
    """
    if triton is None:
        return kernel
    strides = [f"{prefix}stride_{side}" for prefix in ("", "out_") for side in "nchw"]
    return triton.jit(kernel, do_not_specialize=strides, do_not_specialize_on_alignment=["logits", "out"])


@jit
def read_pixels(target, pixel_weight, at, inside, CLASSES: tl.constexpr, VOID: tl.constexpr, DTYPE: tl.constexpr):
    """Labels, -1 where void; weights, 0 where void; and 1 for each label that is neither a class nor void."""
    label = tl.load(target + at, mask=inside, other=0).to(tl.int64)
    labelled = inside & (label != VOID)
    known = labelled & (label >= 0) & (label < CLASSES)
    weight = known.to(DTYPE)
    if pixel_weight is not None:
        weight *= tl.load(pixel_weight + at, mask=known, other=0).to(DTYPE)
    return tl.where(known, label, -1).to(tl.int32), weight, (labelled & ~known).to(DTYPE)


@jit
def class_weights(class_weight, label, weight):
    """The weights (B,) in the focal term of pixels of weight (B,)."""
    if class_weight is not None:
        weight *= tl.load(class_weight + label, mask=label >= 0, other=0).to(weight.dtype)
    return weight


@jit
def softmax(logits, of_true, CLASSES: tl.constexpr, PADDED: tl.constexpr):
    """exp(x - max x) of (P, B) logits, its sum over classes, and log2 p of the true class, whose logits are given."""
    logits = tl.where(tl.arange(0, PADDED)[:, None] < CLASSES, logits, float("-inf"))
    # Rounding max x / log 2 changes all classes alike, which a softmax does not see.
    top = tl.max(logits, 0) * 1.4426950408889634
    exp = tl.exp2(logits * 1.4426950408889634 - top[None, :])
    total = tl.sum(exp, 0)
    log_prob = of_true * 1.4426950408889634 - top - tl.log2(total)
    return exp, total, tl.where(log_prob > 0, 0.0, log_prob)  # rounding could leave it just above; NaN stays


@jit
def power(base, EXPONENT: tl.constexpr):
    """Of numbers that are not negative."""
    if EXPONENT == 0:
        result = tl.full(base.shape, 1, base.dtype)
    elif EXPONENT == 1:
        result = base
    elif EXPONENT == 2:
        result = base * base
    else:
        result = tl.exp2(EXPONENT * tl.log2(base))
    return result


@jit
def miss_of(prob):
    """1 - p of the true class; the floor keeps the slope of its powers below 1 finite. NaN stays."""
    miss = 1 - prob
    return tl.where(miss < 1e-12, 1e-12, miss)


@jit
def add_pixels(
    focal, overlap, predicted, actual, logits, of_true, label, weight, class_weight,
    CLASSES: tl.constexpr, PADDED: tl.constexpr, GAMMA: tl.constexpr,
):  # fmt: skip
    """The sums with those of B more pixels: focal (B,), in units of -log 2; the others (P, B)."""
    exp, total, log_prob = softmax(logits, of_true, CLASSES, PADDED)
    prob = tl.exp2(log_prob)
    focal += class_weights(class_weight, label, weight) * log_prob * power(miss_of(prob), GAMMA)
    predicted += exp * (weight / total)[None, :]
    true = tl.arange(0, PADDED)[:, None] == label[None, :]
    overlap = tl.where(true, overlap + (weight * prob)[None, :], overlap)
    actual = tl.where(true, actual + weight[None, :], actual)
    return focal, overlap, predicted, actual


@jit
def store_sums(out, focal, overlap, predicted, actual, bad, PADDED: tl.constexpr):
    """Sums over B as (4, P); the last row is the focal term, the number of bad labels, and zeros."""
    classes = tl.arange(0, PADDED)
    tl.store(out + classes, tl.sum(overlap, 1))
    tl.store(out + PADDED + classes, tl.sum(predicted, 1))
    tl.store(out + 2 * PADDED + classes, tl.sum(actual, 1))
    rest = tl.where(classes == 0, tl.sum(focal, 0), tl.where(classes == 1, tl.sum(bad, 0), 0.0))
    tl.store(out + 3 * PADDED + classes, rest)


@jit
def gradient_of(
    logits, of_true, label, weight, class_weight, by_focal, by_overlap, by_predicted, image,
    CLASSES: tl.constexpr, PADDED: tl.constexpr, GAMMA: tl.constexpr,
):  # fmt: skip
    """The gradient (P, B) by the logits of pixels of one image, from those by its sums; 0 where void."""
    classes = tl.arange(0, PADDED)
    exp, total, log_prob = softmax(logits, of_true, CLASSES, PADDED)
    prob = tl.exp2(log_prob)
    miss = miss_of(prob)
    if GAMMA == 0:
        slope = tl.full(prob.shape, -1, prob.dtype)
    else:
        scaled = tl.where(log_prob < -1e4, -1e4, log_prob) * (GAMMA * 0.6931471805599453)  # log 2
        slope = (prob * scaled - miss) * power(miss, GAMMA - 1)
    at_true = tl.load(by_overlap + image * CLASSES + label, mask=label >= 0, other=0) * prob
    at_true += tl.load(by_focal + image) * slope * class_weights(class_weight, label, weight * 0 + 1)
    by_class = tl.load(by_predicted + image * CLASSES + classes, mask=classes < CLASSES, other=0)[:, None]
    rest = tl.sum(by_class * exp, 0) / total + at_true
    gradient = exp * (weight / total)[None, :] * (by_class - rest[None, :])
    return tl.where(classes[:, None] == label[None, :], gradient + (weight * at_true)[None, :], gradient)


@jit
def places(pixel, width, stride_h, stride_w):
    """Offsets (B,) of pixels in 64 bits, as all offsets of logits: a batch may have more than 2**31."""
    return (pixel // width).to(tl.int64) * stride_h + (pixel % width).to(tl.int64) * stride_w


@jit
def read_logits(
    logits, stride_c, at, label, CLASSES: tl.constexpr, PADDED: tl.constexpr, DTYPE: tl.constexpr,
):  # fmt: skip
    """Logits (P, B), and those of the true class (B,); 0 where void, so that not even a NaN there matters."""
    classes, labelled = tl.arange(0, PADDED).to(tl.int64)[:, None], label >= 0
    places = tl.max_contiguous(logits + (classes * stride_c + at[None, :]), [1, 2])
    of_all = tl.load(places, mask=(classes < CLASSES) & labelled[None, :], other=0)
    of_true = tl.load(logits + label.to(tl.int64) * stride_c + at, mask=labelled, other=0)  # from the cache
    return of_all.to(DTYPE), of_true.to(DTYPE)


@jit
def sums_kernel(
    logits, stride_n, stride_c, stride_h, stride_w, target, pixel_weight, class_weight, out, pixels, width,
    CLASSES: tl.constexpr, PADDED: tl.constexpr, GAMMA: tl.constexpr, VOID: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Program (i, n) sums up the i-th ``STEPS * BLOCK`` pixels of image n, into ``out[n, i]`` of shape (4, P)."""
    part, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    focal = tl.zeros((BLOCK,), DTYPE)
    bad = tl.zeros((BLOCK,), DTYPE)
    overlap = tl.zeros((PADDED, BLOCK), DTYPE)
    predicted = tl.zeros((PADDED, BLOCK), DTYPE)
    actual = tl.zeros((PADDED, BLOCK), DTYPE)
    for step in range(STEPS):
        pixel = (part * STEPS + step) * BLOCK + tl.arange(0, BLOCK)
        label, weight, wrong = read_pixels(
            target, pixel_weight, image * pixels + pixel, pixel < pixels, CLASSES, VOID, DTYPE
        )
        at = image * stride_n + places(pixel, width, stride_h, stride_w)
        values, of_true = read_logits(logits, stride_c, at, label, CLASSES, PADDED, DTYPE)
        focal, overlap, predicted, actual = add_pixels(
            focal, overlap, predicted, actual, values, of_true, label, weight, class_weight, CLASSES, PADDED, GAMMA
        )
        bad += wrong
    program = image * tl.num_programs(0) + part
    store_sums(out + program * 4 * PADDED, focal, overlap, predicted, actual, bad, PADDED)


@jit
def gradient_kernel(
    logits, stride_n, stride_c, stride_h, stride_w, target, pixel_weight, class_weight,
    out, out_stride_n, out_stride_c, out_stride_h, out_stride_w, by_focal, by_overlap, by_predicted, pixels, width,
    CLASSES: tl.constexpr, PADDED: tl.constexpr, GAMMA: tl.constexpr, VOID: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Program (i, n) writes the gradient of the i-th ``BLOCK`` pixels of image n."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    label, weight, _ = read_pixels(target, pixel_weight, image * pixels + pixel, pixel < pixels, CLASSES, VOID, DTYPE)
    at = image * stride_n + places(pixel, width, stride_h, stride_w)
    values, of_true = read_logits(logits, stride_c, at, label, CLASSES, PADDED, DTYPE)
    gradient = gradient_of(
        values, of_true, label, weight, class_weight, by_focal, by_overlap, by_predicted, image,
        CLASSES, PADDED, GAMMA,
    )  # fmt: skip
    classes = tl.arange(0, PADDED).to(tl.int64)[:, None]
    at = image * out_stride_n + places(pixel, width, out_stride_h, out_stride_w)
    out = tl.max_contiguous(out + (classes * out_stride_c + at[None, :]), [1, 2])
    tl.store(out, gradient.to(out.dtype.element_ty), mask=(classes < CLASSES) & (pixel < pixels)[None, :])
