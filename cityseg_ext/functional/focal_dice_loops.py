"""Loops over pixels, compiled by Numba, that sum up the focal and the Dice term, and find their gradient, on CPUs.

A few hundred pixels of all classes, a chunk, are worked on at a time: they stay in the processor's nearest cache, so
that logits are read once each way, and their gradient is written once. Each loop does so little that LLVM makes it one
over vectors, of whatever width the processor has. What it cannot, looking up and adding by label, has its own loops.

The formula of the gradient is in :mod:`~cityseg_ext.functional.focal_dice_blocks`; ``rows`` and ``pixels`` are
:class:`~cityseg_ext.functional.logit_blocks.Rows` and :class:`~cityseg_ext.functional.focal_dice_numba.Pixels`. Logits
are exponents of 2, logarithms and powers those of 2. All numbers are float32, as constants are therefore, but for the
sums of chunks. Without Numba this file cannot be imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

CHUNK = 256  # pixels: with 19 classes 19 KiB
SCRATCH = 5  # rows of numbers that a chunk needs beside those of its classes, the last one for pixels' weights
LANES = 4  # sums of neighbouring pixels, mostly of one class, that do not wait for each other
ZERO, ONE, LN2, INFINITY = (np.float32(number) for number in (0, 1, math.log(2), math.inf))
LEAST_MISS = np.float32(1e-12)  # the floor of 1 - p keeps the slope of its powers below 1 finite
LEAST_LOG = np.float32(-1e4)  # of p: times p it is 0, where -inf would be no number

# 2**x between -1/2 and 1/2 to 1e-7, and exactly 1 at 0, so that a probability is at most 1.
_FIT = np.polynomial.Chebyshev.interpolate(np.exp2, 5, domain=[-0.5, 0.5])
_, E1, E2, E3, E4, E5 = _FIT.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef.astype(np.float32)
LEAST_EXPONENT = np.float32(-127)  # for which, as for whatever is below, 2**x is 0
ROUND = np.float32(1.5 * 2**23)  # added to a small number it leaves no bit for what is behind the point
L1, L3, L5, L7 = (np.float32(2 / (power * math.log(2))) for power in (1, 3, 5, 7))  # of the series of log(1 + x)
ROOT_HALF = np.int32(np.float32(math.sqrt(0.5)).view(np.int32))


def compiled(function: Callable[..., Any], sums: bool = True) -> Any:
    """Compile at the first call, and keep the result in a file if one can be written.

    Products are added without being rounded first, and sums taken in any order unless that is excluded. Neither hides
    what is not finite.
    """
    fastmath = {"contract", "reassoc"} if sums else {"contract"}
    options: Any = dict(nogil=True, error_model="numpy", fastmath=fastmath)
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # no folder for such files
        return numba.njit(function, **options)


@intrinsic
def bits_of(typing: Any, value: Any) -> Any:
    """The 32 bits of a float32 as an int32."""
    return types.int32(types.float32), lambda _, builder, __, given: builder.bitcast(given[0], ir.IntType(32))


@intrinsic
def of_bits(typing: Any, bits: Any) -> Any:
    """The float32 that has the bits of an int32."""
    return types.float32(types.int32), lambda _, builder, __, given: builder.bitcast(given[0], ir.FloatType())


@partial(compiled, sums=False)
def exp2(x):
    """2**x, for x up to 127; what is no number stays so."""
    x = LEAST_EXPONENT if x < LEAST_EXPONENT else x
    rounded = x + ROUND
    rest = x - (rounded - ROUND)
    power = ((((E5 * rest + E4) * rest + E3) * rest + E2) * rest + E1) * rest + ONE
    return power * of_bits((bits_of(rounded) + np.int32(127)) << np.int32(23))


@partial(compiled, sums=False)
def log2(x):
    """log2(x), for x that are neither 0, negative nor denormal; what is no number, or infinite, becomes no number."""
    exponent = (bits_of(x) - ROOT_HALF) >> np.int32(23)
    mantissa = of_bits(bits_of(x) - (exponent << np.int32(23)))  # sqrt(1/2) to sqrt(2)
    ratio = (mantissa - ONE) / (mantissa + ONE)
    square = ratio * ratio
    return np.float32(exponent) + ratio * (L1 + square * (L3 + square * (L5 + square * L7))) + (x - x)


@compiled
def read_labels(pixels, here, classes, label, weight):
    """Labels, 0 where void; the pixels' weights, 0 where void; and whether a label is neither a class nor void."""
    target, given, wrong = pixels.target[here], pixels.weight[here], False
    for p in range(len(target)):
        known = (target[p] != pixels.void) & (target[p] >= 0) & (target[p] < classes)
        wrong |= (target[p] != pixels.void) != known
        label[p] = target[p] if known else 0
        weight[p] = ONE if known else ZERO
    for p in range(len(given)):
        weight[p] *= given[p]
    return wrong


@compiled
def read_logits(rows, row, columns, chunk):
    """Logits of pixels of one row into the chunk: between two rows of sources, or as they are, scaled."""
    before, after, first, last = rows.before[row], rows.after[row], columns.start, columns.stop
    for c in range(len(chunk)):
        out, upper = chunk[c], rows.sources[c, before, first:last]
        if rows.between:
            lower, part = rows.sources[c, after, first:last], rows.part[row]
            for p in range(len(upper)):
                out[p] = upper[p] + part * (lower[p] - upper[p])
        else:
            for p in range(len(upper)):
                out[p] = upper[p] * np.float32(rows.scale)


@compiled
def write_gradient(rows, row, columns, chunk, gradient):
    """The opposite: add to what two rows of sources have already, or write as it is."""
    before, after, first, last = rows.before[row], rows.after[row], columns.start, columns.stop
    for c in range(len(chunk)):
        given, upper = chunk[c], gradient[c, before, first:last]
        if rows.between:
            lower, part = gradient[c, after, first:last], rows.part[row]
            for p in range(len(upper)):
                upper[p] += (ONE - part) * given[p]
                lower[p] += part * given[p]
        else:
            for p in range(len(upper)):
                upper[p] = given[p]


@compiled
def add_sums(chunk, label, weight, pixels, here, scratch, by_lane, predicted):
    """Add a chunk to ``by_lane`` and ``predicted``; return its part of the focal sum, in bits and negative."""
    count = here.stop - here.start
    true, top, total, miss = scratch[0], scratch[1], scratch[2], scratch[3]
    log_total, class_weight = pixels.log_total[here], pixels.class_weight
    for p in range(count):
        top[p] = -INFINITY
        total[p] = ZERO if weight[p] > ZERO else ONE
    for c in range(len(chunk)):
        row = chunk[c]
        for p in range(count):
            top[p] = row[p] if row[p] > top[p] else top[p]
    for p in range(count):
        true[p] = chunk[label[p], p] - top[p]
    for c in range(len(chunk)):
        row = chunk[c]
        for p in range(count):
            exp = exp2(row[p] - top[p])
            exp = exp if weight[p] > ZERO else ZERO  # void logits may be no numbers
            row[p] = exp
            total[p] += exp
    for p in range(count):
        log_total[p] = log2(total[p])
        total[p] = weight[p] / total[p]
    for p in range(count):
        true[p] = true[p] - log_total[p] if weight[p] > ZERO else ZERO
    for p in range(count):
        log_total[p] += top[p]
        other = ONE - exp2(true[p])
        miss[p] = exp2(pixels.gamma * log2(other if other > LEAST_MISS else LEAST_MISS))
    for p in range(count):
        miss[p] *= weight[p] * class_weight[label[p]]
    focal = ZERO
    for p in range(count):
        focal += miss[p] * true[p]
        true[p] = weight[p] * exp2(true[p])
    for p in range(count):
        by_lane[0, p & (LANES - 1), label[p]] += true[p]
        by_lane[1, p & (LANES - 1), label[p]] += weight[p]
    for c in range(len(chunk)):
        row = chunk[c]
        part = ZERO
        for p in range(count):
            part += row[p] * total[p]
        predicted[c] += part
    return focal


@compiled
def to_gradient(chunk, label, weight, pixels, here, by_focal, by_overlap, by_predicted, scratch):
    """Logits become the gradient by them."""
    count = here.stop - here.start
    true, mean, miss, slope = scratch[0], scratch[1], scratch[2], scratch[3]
    log_total, class_weight = pixels.log_total[here], pixels.class_weight
    for p in range(count):
        true[p] = chunk[label[p], p]
        mean[p] = ZERO
    for c in range(len(chunk)):
        row, by_this = chunk[c], by_predicted[c]
        for p in range(count):
            prob = exp2(row[p] - log_total[p])
            prob = prob if weight[p] > ZERO else ZERO
            row[p] = prob
            mean[p] += prob * by_this
    for p in range(count):
        log = true[p] - log_total[p] if weight[p] > ZERO else ZERO
        true[p] = log if log > LEAST_LOG else LEAST_LOG
    for p in range(count):
        other = ONE - exp2(true[p])
        miss[p] = other if other > LEAST_MISS else LEAST_MISS
    for p in range(count):
        slope[p] = by_focal * exp2((pixels.gamma - ONE) * log2(miss[p]))
    for p in range(count):
        prob = exp2(true[p])
        slope[p] *= pixels.gamma * LN2 * prob * true[p] - miss[p]
        true[p] = prob
    for p in range(count):
        true[p] = true[p] * by_overlap[label[p]] + slope[p] * class_weight[label[p]]  # `a` of the formula
    for p in range(count):
        mean[p] += true[p]
        true[p] *= weight[p]
    for c in range(len(chunk)):
        row, by_this = chunk[c], by_predicted[c]
        for p in range(count):
            row[p] *= (by_this - mean[p]) * weight[p]
    for p in range(count):
        chunk[label[p], p] += true[p]


@compiled
def block_sums(rows, pixels, memory, sums):
    """Add the sums of a block to (2 + 2 LANES, C); return whether a label is wrong.

    They are ``predicted``; the focal sum; and, by lane, ``overlap`` and ``actual``. ``memory`` is (SCRATCH + C, CHUNK).
    """
    chunk, scratch, label = memory[SCRATCH:], memory[:SCRATCH], np.empty(CHUNK, np.int64)
    weight = scratch[SCRATCH - 1]
    by_lane, done = sums[2:].reshape(2, LANES, len(chunk)), 0
    for row in range(len(rows.before)):
        for first in range(rows.columns[0], rows.columns[1], CHUNK):
            columns = slice(first, min(first + CHUNK, rows.columns[1]))
            here = slice(done, done + columns.stop - first)
            done = here.stop
            if read_labels(pixels, here, len(chunk), label, weight):
                return True
            read_logits(rows, row, columns, chunk)
            sums[1, 0] += add_sums(chunk, label, weight, pixels, here, scratch, by_lane, sums[0])
    return False


@compiled
def block_gradient(rows, pixels, memory, by_focal, by_overlap, by_predicted, gradient):
    """Write the gradient of a block by its sources, (C, R, W), or add it where rows are between these."""
    chunk, scratch, label = memory[SCRATCH:], memory[:SCRATCH], np.empty(CHUNK, np.int64)
    weight = scratch[SCRATCH - 1]
    done = 0
    for row in range(len(rows.before)):
        for first in range(rows.columns[0], rows.columns[1], CHUNK):
            columns = slice(first, min(first + CHUNK, rows.columns[1]))
            here = slice(done, done + columns.stop - first)
            done = here.stop
            read_labels(pixels, here, len(chunk), label, weight)
            read_logits(rows, row, columns, chunk)
            to_gradient(chunk, label, weight, pixels, here, by_focal, by_overlap, by_predicted, scratch)
            write_gradient(rows, row, columns, chunk, gradient)
