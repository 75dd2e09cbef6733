import math

import numpy as np
import pytest
import torch

from cityseg_ext.functional.class_sampling import ClassSampling, class_probabilities, draw_images, effective_number

COUNTS = np.array(
    [
        [900, 50, 0, 0, 20],
        [700, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],  # all void
        [300, 300, 0, 2, 0],
        [950, 0, 0, 0, 4],
        [0, 800, 0, 0, 0],
        [0, 0, 0, 0, 3],  # all but void
    ]
)
AREAS = np.array([1000, 1000, 1000, 800, 1000, 900, 1000])
INFINITY = float("inf")


def slow_class_probabilities(pixels, temperature):
    total = sum(pixels)
    terms = [math.exp((1 - n / total) / temperature) if n else 0.0 for n in pixels]
    return [term / sum(terms) for term in terms]


def slow_images_of(c, min_share):
    has_much = [i for i in range(len(COUNTS)) if COUNTS[i][c] > 0 and COUNTS[i][c] >= min_share * AREAS[i]]
    return has_much or [i for i in range(len(COUNTS)) if COUNTS[i][c] > 0]


def slow_image_probabilities(temperature, min_share):
    result = [0.0] * len(COUNTS)
    for c, p in enumerate(slow_class_probabilities(COUNTS.sum(0), temperature)):
        images = slow_images_of(c, min_share)
        for i in images:
            result[i] += p / len(images)
    return result


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0, 100.0, INFINITY])
def test_class_probabilities_are_those_of_the_formula(temperature):
    pixels = COUNTS.sum(axis=0)
    found = class_probabilities(pixels, temperature)
    np.testing.assert_allclose(found, slow_class_probabilities(pixels.tolist(), temperature), rtol=1e-9)


@pytest.mark.parametrize("temperature", [1e-320, 1e-3, 1e300])
def test_extreme_temperatures_neither_overflow_nor_give_nan(temperature):
    with np.errstate(over="ignore"):  # a share over a tiny temperature is infinite, as it should be
        found = class_probabilities([10**12, 10**6, 10**6 + 10**10, 0], temperature)
    assert found.sum() == pytest.approx(1)
    assert found.tolist() == pytest.approx([1 / 3] * 3 + [0] if temperature > 1 else [0, 1, 0, 0], abs=1e-4)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_a_temperature_must_be_above_zero(temperature):
    with pytest.raises(ValueError, match="`temperature` to be above 0"):
        class_probabilities([1, 2], temperature)


def test_a_data_set_without_labels_is_an_error():
    with pytest.raises(ValueError, match="at least one class"):
        ClassSampling.of(np.zeros((2, 3), np.int64), np.array([4, 4]), 0.01)


@pytest.mark.parametrize("min_share", [-0.1, 1.0, float("nan")])
def test_shares_out_of_range_are_errors(min_share):
    for make in (lambda: ClassSampling.of(COUNTS, AREAS, 0.01, min_share), lambda: ClassSampling.alike(5, min_share)):
        with pytest.raises(ValueError, match="`min_share` to be at least 0"):
            make()


@pytest.mark.parametrize("min_share", [0.0, 0.002, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("temperature", [0.01, 0.3, INFINITY])
def test_image_probabilities_are_those_of_the_slow_reference(temperature, min_share):
    found = ClassSampling.of(COUNTS, AREAS, temperature, min_share).images(COUNTS, AREAS)
    np.testing.assert_allclose(found, slow_image_probabilities(temperature, min_share), rtol=1e-9)
    assert found.sum() == pytest.approx(1)
    assert found[2] == 0  # all void


@pytest.mark.parametrize("min_share", [0.0, 0.01])
def test_drawing_a_class_then_an_image_gives_these_frequencies(min_share):
    rng = np.random.default_rng(0)
    number = 20_000
    classes = rng.choice(5, number, p=class_probabilities(COUNTS.sum(0), 0.3))
    drawn = np.bincount([rng.choice(slow_images_of(c, min_share)) for c in classes], minlength=len(COUNTS))
    p = ClassSampling.of(COUNTS, AREAS, 0.3, min_share).images(COUNTS, AREAS)
    assert (abs(drawn - number * p) <= 5 * np.sqrt(number * p * (1 - p))).all()


@pytest.mark.parametrize("min_share", [0.0, 0.01, 0.5])
def test_classes_given_images_are_the_classes_that_images_were_drawn_for(min_share):
    """Bayes: the sum over images of P(image) P(c | image) is P(c)."""
    sampling = ClassSampling.of(COUNTS, AREAS, 0.3, min_share)
    images = sampling.images(COUNTS, AREAS)
    given = np.array([sampling.classes(pixels, area) for pixels, area in zip(COUNTS, AREAS, strict=True)])
    np.testing.assert_allclose(images @ given, sampling.probabilities, atol=1e-12)


def test_classes_of_an_image_do_not_depend_on_its_size():
    sampling = ClassSampling.of(COUNTS, AREAS, 0.3, 0.01)
    for pixels, area in zip(COUNTS, AREAS, strict=True):
        np.testing.assert_allclose(sampling.classes(pixels, area), sampling.classes(pixels * 4, area * 4))


def test_an_image_that_has_too_little_of_everything_still_has_a_class():
    sampling = ClassSampling.of(COUNTS, AREAS, 0.3, 0.01)
    assert sampling.classes(COUNTS[6], 1000).tolist() == [0, 0, 0, 0, 1]
    assert not sampling.classes(np.array([0, 0, 7, 0, 0]), 1000).any()  # a class that the data set has not


@pytest.mark.parametrize("number", [1, 7, 100])
def test_each_image_is_drawn_as_often_as_expected_rounded_up_or_down(number):
    p = ClassSampling.of(COUNTS, AREAS, 0.3).images(COUNTS, AREAS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        drawn = np.bincount(draw_images(p, number, generator), minlength=len(p))
        assert drawn.sum() == number
        assert (abs(drawn - number * p) < 1 + 1e-9).all()


def test_expected_frequencies():
    p = ClassSampling.of(COUNTS, AREAS, 0.3).images(COUNTS, AREAS)
    generator = torch.Generator().manual_seed(1)
    rounds, number = 2000, 7
    drawn = np.array([np.bincount(draw_images(p, number, generator), minlength=len(p)) for _ in range(rounds)])
    rest = number * p % 1  # a draw gives the whole part, and one more with this probability
    assert (abs(drawn.mean(0) - number * p) <= 5 * np.sqrt(rest * (1 - rest) / rounds) + 1e-12).all()


def test_every_place_of_the_order_is_as_likely():
    """The first of a draw is no other image than any."""
    p = np.array([0.6, 0.3, 0.1])
    generator = torch.Generator().manual_seed(2)
    drawn = np.array([draw_images(p, 3, generator) for _ in range(3000)])
    for place in range(3):
        frequency = np.bincount(drawn[:, place], minlength=3) / 3000
        assert (abs(frequency - p) <= 5 * np.sqrt(p * (1 - p) / 3000)).all()


def test_images_of_equal_probability_are_all_drawn_once():
    generator = torch.Generator().manual_seed(0)
    draws = [draw_images(np.full(101, 1 / 101), 101, generator) for _ in range(20)]
    assert all(sorted(drawn) == list(range(101)) for drawn in draws)
    assert len({tuple(drawn) for drawn in draws}) == 20


def test_effective_number_counts_repeats():
    assert effective_number(np.array([0.5, 0.5, 0])) == 2
    assert effective_number(np.array([0.9, 0.1])) == pytest.approx(1 / 0.82)
