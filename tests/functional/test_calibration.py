from dataclasses import astuple

import numpy as np
import pytest
import reference

from cityseg_ext.functional import calibration
from cityseg_ext.functional.calibration import calibration_scores
from cityseg_ext.functional.records import add_up


def calibration_counts(probabilities, target, *options):
    confidence, pred = probabilities.max(0), probabilities.argmax(0)
    return calibration.calibration_counts(confidence, pred, target, *options)


def softmax(seed, shape=(4, 9, 11)):
    rng = np.random.default_rng(seed)
    exponents = np.exp(2 * rng.normal(size=shape))
    target = rng.choice([0, 1, 2, 3, 255], shape[1:]).astype(np.uint8)
    return exponents / exponents.sum(0), target


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_equals_the_slow_reference(bins, dtype):
    probabilities, target = softmax(bins)
    probabilities = probabilities.astype(dtype)
    found = calibration_scores(calibration_counts(probabilities, target, bins)).ece
    assert found == pytest.approx(reference.calibration_error(probabilities, target, bins), abs=1e-6)


def test_a_model_that_is_right_as_often_as_it_says_has_no_error():
    probabilities = np.empty((2, 1, 4))
    probabilities[0], probabilities[1] = 0.75, 0.25
    counts = calibration_counts(probabilities, np.array([[0, 0, 0, 1]], np.uint8))
    assert calibration_scores(counts).ece == 0
    sure = np.stack([np.ones((1, 4)), np.zeros((1, 4))])
    assert calibration_scores(calibration_counts(sure, np.array([[1, 1, 1, 1]], np.uint8))).ece == 1


def test_bins_are_open_below_and_closed_above():
    probabilities = np.array([[[0.5, 0.6, 1.0]], [[0.5, 0.4, 0.0]]])
    assert calibration_counts(probabilities, np.zeros((1, 3), np.uint8), 2).pixels.tolist() == [1, 2]


def test_void_does_not_count_whatever_is_there():
    probabilities, target = softmax(0)
    spoilt = np.where(target == 255, np.nan, probabilities)
    for first, second in zip(
        *(astuple(calibration_counts(values, target)) for values in (probabilities, spoilt)), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="at least one labelled pixel"):
        calibration_scores(calibration_counts(probabilities, np.full_like(target, 255)))


def test_the_order_of_images_does_not_matter():
    parts = [calibration_counts(*softmax(seed)) for seed in range(6)]
    forward, backward = add_up(parts), add_up(parts[::-1])
    for first, second in zip(astuple(forward), astuple(backward), strict=True):
        assert first.tobytes() == second.tobytes()
    assert forward.pixels.dtype == forward.right.dtype == np.int64 and forward.confidence.dtype == np.float64


def test_bad_input_is_refused():
    probabilities, target = softmax(0)
    with pytest.raises(ValueError, match="`confidence` to be 0 to 1"):
        calibration_counts(5 * probabilities, target)
    with pytest.raises(ValueError, match=r"of the shape \(9, 11\), but got \(8, 11\)"):
        calibration_counts(probabilities[:, 1:], target)
    with pytest.raises(ValueError, match="`num_bins` to be at least 1"):
        calibration_counts(probabilities, target, 0)
