from fractions import Fraction

import cv2
import numpy as np
import pytest

from cityseg_ext.functional.label_resize import resize_labels


@pytest.mark.parametrize("source", [(1, 1), (9, 7), (48, 36), (41, 64)])
@pytest.mark.parametrize("target", [(1, 1), (5, 3), (24, 18), (12, 9), (97, 130)])
def test_each_pixel_shows_what_is_under_its_centre(source, target):
    labels = np.random.default_rng(0).integers(0, 255, source, dtype=np.uint8)
    rows, columns = (
        [int((Fraction(i) + Fraction(1, 2)) * given / wanted) for i in range(wanted)]
        for given, wanted in zip(source, target, strict=True)
    )
    np.testing.assert_array_equal(resize_labels(labels, *target), labels[np.ix_(rows, columns)])


def test_labels_stay_under_a_photograph_of_the_same_step():
    """An edge in the photograph and in the labels is at the same place after both are shrunk."""
    labels = np.zeros((32, 64), np.uint8)
    labels[:, 30:] = 1
    photo = cv2.resize(labels.astype(np.float32), (16, 8), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(resize_labels(labels, 8, 16)[0], photo[0] >= 0.5)
    moved = cv2.resize(labels, (16, 8), interpolation=cv2.INTER_NEAREST)
    assert (moved[0] != (photo[0] >= 0.5)).any()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"`labels` to be of shape \(H, W\), but got \(2, 2, 3\)"):
        resize_labels(np.zeros((2, 2, 3), np.uint8), 1, 1)
    with pytest.raises(ValueError, match="at least 1, but got 0 and 3"):
        resize_labels(np.zeros((2, 2), np.uint8), 0, 3)
