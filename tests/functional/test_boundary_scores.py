from dataclasses import astuple

import numpy as np
import pytest
import reference

from cityseg_ext.functional.boundary_scores import boundary_counts, boundary_scores, width_in_pixels
from cityseg_ext.functional.confusion import confusion_counts, segmentation_scores
from cityseg_ext.functional.records import add_up


def blobs(seed, shape, void=True, classes=4):
    """Truth in blocks with void, and a prediction that is a shifted and noisy copy of it."""
    rng = np.random.default_rng(seed)
    values = [*range(classes), 255] if void else list(range(classes))
    coarse = rng.choice(values, (-(-shape[0] // 3), -(-shape[1] // 3)))
    target = coarse.repeat(3, 0).repeat(3, 1)[: shape[0], : shape[1]].astype(np.uint8)
    pred = np.where(rng.random(shape) < 0.9, np.roll(target, 1, axis=1), rng.integers(0, classes, shape))
    return pred.astype(np.uint8), target


def scores(pred, target, classes=4, width=2, tolerance=2):
    return boundary_scores(boundary_counts(pred, target, classes, width, tolerance))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 2), (13, 17)])
@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_they_equal_the_slow_reference(shape, void, width):
    pred, target = blobs(width, shape, void)
    found = scores(pred, target, width=width, tolerance=width)
    for index in range(4):
        np.testing.assert_equal(found.iou[index], reference.boundary_iou(pred, target, index, width))
        np.testing.assert_allclose(found.f[index], reference.boundary_f(pred, target, index, width), rtol=1e-14)


def test_equal_maps_score_1_whatever_lies_under_void():
    _, target = blobs(0, (21, 30))
    rng = np.random.default_rng(1)
    pred = np.where(target == 255, rng.integers(0, 255, target.shape), target).astype(np.uint8)
    found = scores(pred, target)
    assert (found.iou == 1).all() and (found.f == 1).all()


def test_what_is_predicted_under_void_does_not_matter():
    pred, target = blobs(3, (21, 30))
    other = np.where(target == 255, 3 - np.minimum(pred, 3), pred).astype(np.uint8)
    counts = [astuple(boundary_counts(guess, target, 4)) for guess in (pred, other)]
    for first, second in zip(*counts, strict=True):
        np.testing.assert_array_equal(first, second)


def test_no_border_runs_along_void_or_past_the_edge_of_void():
    target = np.zeros((9, 9), np.uint8)
    target[4] = target[:, 0] = target[:, -1] = target[0] = target[-1] = 255
    counts = boundary_counts(np.zeros_like(target), target, 1, width=3, tolerance=3)
    assert not any(part.any() for part in astuple(counts))
    assert np.isnan(boundary_scores(counts).iou).all()


def test_the_edge_of_the_image_bounds_the_band_as_in_the_authors_code():
    target = np.zeros((5, 7), np.uint8)
    counts = boundary_counts(target, target, 1, width=1, tolerance=1)
    assert counts.band_true.tolist() == [5 * 7 - 3 * 5]
    assert counts.contour_true.tolist() == [0]


def test_shifts_cost_more_than_in_iou():
    target = np.zeros((60, 90), np.uint8)
    target[15:45, 20:70] = 1
    drops = []
    for shift in (0, 1, 3, 6):
        pred = np.roll(target, shift, axis=1)
        iou = segmentation_scores(confusion_counts(pred, target, 2)).iou[1]
        found = scores(pred, target, 2, width=3, tolerance=2)
        drops.append((1 - iou, 1 - found.iou[1], 1 - found.f[1]))
    assert drops[0] == (0, 0, 0)
    assert all(band > area for area, band, _ in drops[1:])
    assert drops[1][2] == 0 < drops[2][2] < drops[3][2]  # within the tolerance nothing is lost


def test_a_class_in_one_map_only_scores_0_and_an_absent_one_has_no_score():
    target = np.zeros((8, 8), np.uint8)
    target[:, 4:] = 1
    pred = np.where(target == 1, 2, 0).astype(np.uint8)
    found = scores(pred, target)
    assert found.iou[1:3].tolist() == found.f[1:3].tolist() == [0, 0]
    assert np.isnan(found.iou[3]) and np.isnan(found.f[3])


def test_predictions_of_no_class_are_misses():
    _, target = blobs(5, (12, 12), void=False)
    found = scores(np.full_like(target, 255), target)
    assert (found.iou == 0).all() and (found.f == 0).all()


def test_counts_add_up():
    parts = [blobs(seed, (12, 12 + seed)) for seed in range(3)]
    counts = [boundary_counts(pred, target, 4, 2, 2) for pred, target in parts]
    total = add_up(counts)
    assert total.band_true.dtype == np.int64
    np.testing.assert_array_equal(total.band_true, sum(part.band_true for part in counts))


def test_widths_are_pixels_or_shares_of_the_diagonal():
    assert width_in_pixels((1024, 2048), 0.0075) == 17 and width_in_pixels((10, 10), 0.005) == 1
    assert width_in_pixels((10, 10), 1) == 1 and width_in_pixels((10, 10), 4) == 4
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`width` to be above 0"):
            width_in_pixels((10, 10), bad)


def test_bad_input_is_refused():
    good = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but got \(3, 2\)"):
        boundary_counts(good.T, good, 2)
    with pytest.raises(ValueError, match="uint8, but got int64"):
        boundary_counts(good.astype(int), good, 2)
    with pytest.raises(ValueError, match="`num_classes` to be 1 to 253"):
        boundary_counts(good, good, 254)
