import cv2
import numpy as np
import pytest

from cityseg_ext.functional.crop_windows import label_histogram, nth_true, windows_with
from cityseg_ext.labels import IGNORE_INDEX


def labels(shape=(9, 41), seed=0):
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, IGNORE_INDEX], np.uint8), shape)


LAYOUTS = {
    "whole": lambda a: a,
    "part": lambda a: a[2:8, 3:30],
    "flipped": lambda a: a[:, ::-1],
    "turned": lambda a: a.T,
    "every second": lambda a: a[::2, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_histogram(layout):
    array = LAYOUTS[layout](labels())
    expected = [np.count_nonzero(array == value) for value in range(IGNORE_INDEX)] + [0]
    assert label_histogram(array).tolist() == expected


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(1, 1), (3, 7), (2, 11), None])
@pytest.mark.parametrize("least", [1, 2.5, 8, 10**6])
def test_windows_are_those_of_the_slow_reference(layout, size, least):
    mask = LAYOUTS[layout](labels()) == 2
    height, width = size or mask.shape
    if height > mask.shape[0] or width > mask.shape[1]:
        pytest.skip("a window of this size does not fit")
    held = np.array(
        [
            [np.count_nonzero(mask[y : y + height, x : x + width]) for x in range(mask.shape[1] - width + 1)]
            for y in range(mask.shape[0] - height + 1)
        ]
    )
    expected = held >= least if (held >= least).any() else held == held.max()
    np.testing.assert_array_equal(windows_with(mask, height, width, least), expected)


def test_nth_true_finds_each_once():
    mask = labels() == 1
    assert [nth_true(mask, n) for n in range(np.count_nonzero(mask))] == [tuple(p) for p in np.argwhere(mask).tolist()]


def test_sums_of_a_large_map_are_exact():
    mask = np.ones((4100, 4100), bool)  # more pixels than float32 can count
    assert windows_with(mask, 4099, 4100, 4099 * 4100).tolist() == [[True], [True]]
    assert cv2.integral(mask.view(np.uint8)).dtype == np.int32
