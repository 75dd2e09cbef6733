from dataclasses import dataclass

import numpy as np
import pytest

from cityseg_ext.functional.records import add_up


@dataclass
class Pair:
    pixels: np.ndarray
    weight: np.ndarray


def test_sums_are_exact_and_do_not_depend_on_the_order():
    rng = np.random.default_rng(0)
    parts = [Pair(rng.integers(0, 2**53, (2, 3)), rng.normal(size=4) * 10.0 ** rng.integers(-9, 9)) for _ in range(50)]
    total = add_up(parts)
    assert total.pixels.tolist() == np.sum([part.pixels for part in parts], axis=0).tolist()
    for seed in range(5):
        shuffled = add_up([parts[index] for index in np.random.default_rng(seed).permutation(50)])
        assert shuffled.weight.tobytes() == total.weight.tobytes()
    np.testing.assert_allclose(total.weight, np.sum([part.weight for part in parts], axis=0), rtol=1e-9)


def test_small_integers_do_not_wrap():
    assert add_up([Pair(np.full(1, 200, np.uint8), np.zeros(1))] * 3).pixels.tolist() == [600]


def test_records_must_be_alike():
    with pytest.raises(ValueError):
        add_up([Pair(np.zeros(2), np.zeros(2)), Pair(np.zeros(3), np.zeros(2))])
