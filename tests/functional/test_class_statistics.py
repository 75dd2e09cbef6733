import math
from decimal import Decimal, getcontext
from statistics import median

import numpy as np
import pytest

from cityseg_ext.functional.class_statistics import (
    WEIGHTINGS,
    class_counts,
    effective_number_weights,
    enet_weights,
    median_frequency_weights,
)

COUNTS = np.array([[500, 20, 0, 0, 7], [300, 0, 0, 1, 9], [0, 0, 0, 0, 0], [10, 90, 0, 0, 0]])


def slow_enet(counts):
    pixels = [sum(column) for column in zip(*counts, strict=True)]
    return [1 / math.log(1.02 + p / sum(pixels)) if p else 1.0 for p in pixels]


def slow_median_frequency(counts):
    frequency = {}
    for c in range(len(counts[0])):
        rows = [row for row in counts if row[c] > 0]
        if rows:
            frequency[c] = sum(row[c] for row in rows) / sum(sum(row) for row in rows)
    return [median(frequency.values()) / frequency[c] if c in frequency else 1.0 for c in range(len(counts[0]))]


def slow_effective(pixels, beta):
    """With 80 digits, so that nothing cancels."""
    getcontext().prec = 80
    beta = Decimal(beta)
    raw = {c: (1 - beta) / (1 - beta ** int(p)) for c, p in enumerate(pixels) if p}
    return [float(raw[c] * len(raw) / sum(raw.values())) if c in raw else 1.0 for c in range(len(pixels))]


def test_counts_against_a_loop():
    rng = np.random.default_rng(0)
    indices = rng.choice([0, 1, 3, 255], size=(41, 7)).astype(np.uint8)
    counts, void = class_counts(indices[:, ::2], num_classes=5)  # not contiguous
    flat = indices[:, ::2].ravel().tolist()
    assert counts.tolist() == [flat.count(c) for c in range(5)] and void == flat.count(255)
    assert counts.dtype == np.int64 and type(void) is int


def test_counts_refuse_what_is_no_class():
    with pytest.raises(ValueError, match="0 to 2, or 255 for void, but got 3, 7"):
        class_counts(np.array([[0, 7, 3, 255]], np.uint8), num_classes=3)
    with pytest.raises(ValueError, match="`indices` to be uint8"):
        class_counts(np.zeros((2, 2), np.int64), num_classes=3)


def test_weights_against_slow_references():
    np.testing.assert_allclose(enet_weights(COUNTS), slow_enet(COUNTS.tolist()), rtol=1e-14)
    np.testing.assert_allclose(median_frequency_weights(COUNTS), slow_median_frequency(COUNTS.tolist()), rtol=1e-14)
    for beta in (0.5, 0.99, 0.9999):
        expected = slow_effective(COUNTS.sum(axis=0), beta)
        np.testing.assert_allclose(effective_number_weights(COUNTS, beta), expected, rtol=1e-13)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_absent_classes_weigh_one_and_change_nothing(name):
    weigh = WEIGHTINGS[name]
    weights = weigh(COUNTS)
    assert weights.dtype == np.float64 and weights[2] == 1
    present = [0, 1, 3, 4]
    np.testing.assert_allclose(weigh(COUNTS[:, present]), weights[present], rtol=1e-15)
    assert weigh(np.zeros((3, 4), np.int64)).tolist() == [1, 1, 1, 1]
    assert weigh(np.zeros((0, 4), np.int64)).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_rarer_classes_weigh_more_and_scale_does_not_matter(name):
    counts = np.array([[10**6, 10**5, 10**4, 10**2]])
    weights = WEIGHTINGS[name](counts)
    assert (np.diff(weights) > 0).all()
    np.testing.assert_allclose(WEIGHTINGS[name](counts * 1000), weights, rtol=1e-3)


def test_normalisation_as_documented():
    assert enet_weights([5])[0] == pytest.approx(1 / math.log(2.02)) and enet_weights([10**12, 1])[1] < 50.5
    assert 1.0 in median_frequency_weights([[60, 30, 10]])
    weights = effective_number_weights(COUNTS)
    assert weights[[0, 1, 3, 4]].sum() == pytest.approx(4) and weights.sum() == pytest.approx(5)


@pytest.mark.parametrize("beta", [0.999999999, 1 - 1e-12, 1 - 2**-53])
def test_huge_counts_and_beta_near_one_are_exact(beta):
    pixels = [3 * 10**12, 10**9, 10**6, 1, 0]
    np.testing.assert_allclose(effective_number_weights(pixels, beta), slow_effective(pixels, beta), rtol=1e-12)


def test_the_two_limits_of_beta():
    assert effective_number_weights([100, 10, 0], beta=0).tolist() == [1, 1, 1]
    inverse = effective_number_weights([100, 10], beta=1 - 1e-15)
    assert inverse[1] / inverse[0] == pytest.approx(10)


def test_one_pixel_is_enough():
    for weigh in WEIGHTINGS.values():
        assert np.isfinite(weigh([[1, 0]])).all() and np.isfinite(weigh([[1, 1]])).all()


@pytest.mark.parametrize("counts", [[[-1, 2]], [[float("nan"), 1]], [[float("inf"), 1]], [[[1]]], []])
def test_wrong_counts_are_refused(counts):
    for weigh in WEIGHTINGS.values():
        with pytest.raises(ValueError, match="`counts` to be .* but got [^.]"):
            weigh(counts)


@pytest.mark.parametrize("beta", [-0.1, 1, float("nan")])
def test_wrong_beta_is_refused(beta):
    with pytest.raises(ValueError, match="`beta` to be at least 0 and below 1"):
        effective_number_weights([1, 2], beta)
