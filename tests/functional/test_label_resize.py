from collections import Counter
from fractions import Fraction

import cv2
import numpy as np
import pytest

from cityseg_ext.functional.label_resize import resize_labels


def slow_resize(labels, height, width):
    """The definition, in fractions."""
    result = np.empty((height, width), labels.dtype)
    for y, x in np.ndindex(height, width):

        def under(down, across, y=y, x=x):
            return int(labels[int((y + down) * labels.shape[0] / height), int((x + across) * labels.shape[1] / width)])

        centre = under(Fraction(1, 2), Fraction(1, 2))
        grows = height >= labels.shape[0] and width >= labels.shape[1]
        points = [Fraction(1, 2)] if grows else [Fraction(2 * i + 1, 8) for i in range(4)]
        votes = Counter(under(down, across) for down in points for across in points)
        result[y, x] = min(votes, key=lambda value: (-votes[value], value != centre, value))
    return result


@pytest.mark.parametrize("source", [(1, 1), (9, 7), (48, 36), (41, 64)])
@pytest.mark.parametrize("target", [(1, 1), (5, 3), (24, 18), (12, 9), (36, 27), (47, 60), (10, 90), (97, 130)])
def test_each_pixel_shows_what_most_of_it_is(source, target):
    noise = np.random.default_rng(0).integers(0, 4, source, dtype=np.uint8)
    for labels in (noise, cv2.medianBlur(noise, 3)):
        np.testing.assert_array_equal(resize_labels(labels, *target), slow_resize(labels, *target))


def test_the_same_size_changes_nothing():
    labels = np.random.default_rng(0).integers(0, 255, (13, 17), dtype=np.uint8)
    np.testing.assert_array_equal(resize_labels(labels, 13, 17), labels)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_labels_stay_under_a_photograph_of_the_same_step(factor):
    """An edge in the photograph and in the labels is at the same place after both are shrunk, mirrored or not."""
    labels = np.zeros((48, 96), np.uint8)
    labels[:, 49:] = 1
    for picture in (labels, labels[:, ::-1].copy()):
        height, width = 48 // factor, 96 // factor
        photo = cv2.resize(picture.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        sure = np.abs(photo[0] - 0.5) > 0.01
        np.testing.assert_array_equal(resize_labels(picture, height, width)[0][sure], (photo[0] >= 0.5)[sure])


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"`labels` to be uint8 of shape \(H, W\), but got uint8 of \(2, 2, 3\)"):
        resize_labels(np.zeros((2, 2, 3), np.uint8), 1, 1)
    with pytest.raises(ValueError, match="but got int64"):
        resize_labels(np.zeros((2, 2), np.int64), 1, 1)
    with pytest.raises(ValueError, match="at least 1, but got 0 and 3"):
        resize_labels(np.zeros((2, 2), np.uint8), 0, 3)
