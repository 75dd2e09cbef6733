import numpy as np
import pytest
import reference

from cityseg_ext.functional.confusion import (
    confusion_counts,
    joint_histogram,
    mean_present,
    rename_counts,
    restrict_counts,
    segmentation_scores,
)


@pytest.mark.parametrize("shape", [(1, 1), (9, 7), (41, 64)])
@pytest.mark.parametrize("num_classes", [1, 2, 19, 29])
def test_counts_equal_the_reference(shape, num_classes):
    rng = np.random.default_rng(num_classes)
    pred = rng.integers(0, num_classes, shape).astype(np.uint8)
    target = rng.choice([*range(num_classes), 255], shape).astype(np.uint8)
    counts = confusion_counts(pred, target, num_classes)
    np.testing.assert_array_equal(counts, reference.confusion(pred, target, num_classes))
    assert counts.dtype == np.int64


def test_what_is_predicted_under_void_does_not_matter():
    target = np.array([[0, 255]], np.uint8)
    counts = [confusion_counts(np.array([[0, under]], np.uint8), target, 2) for under in (0, 1, 77, 255)]
    assert all((other == counts[0]).all() for other in counts)


def test_counts_stay_exact_beyond_float32():
    pred = np.zeros((5000, 4096), np.uint8)  # 20.5 million pixels; float32 counts to 16.8 million only
    assert confusion_counts(pred, pred, 1)[0, 0] == 5000 * 4096


def test_values_out_of_range_are_named():
    good = np.array([[0, 1]], np.uint8)
    with pytest.raises(
        ValueError, match=r"`target` to be class indices 0 to 1 or 255 for void, but got 7 \(1 pixels\)"
    ):
        confusion_counts(good, np.array([[0, 7]], np.uint8), 2)
    with pytest.raises(ValueError, match=r"`pred` to be class indices 0 to 1, but got 255 \(1 pixels\)"):
        confusion_counts(np.array([[0, 255]], np.uint8), good, 2)


def test_shapes_and_types_must_agree():
    with pytest.raises(ValueError, match=r"shape \(1, 2\), but got \(2, 1\)"):
        confusion_counts(np.zeros((2, 1), np.uint8), np.zeros((1, 2), np.uint8), 2)
    with pytest.raises(ValueError, match="uint8, but got int64"):
        confusion_counts(np.zeros((1, 2), np.int64), np.zeros((1, 2), np.uint8), 2)


def test_scores_equal_the_reference():
    rng = np.random.default_rng(0)
    pred, target = rng.integers(0, 5, (20, 30)).astype(np.uint8), rng.choice([0, 1, 2, 3, 255], (20, 30))
    target = target.astype(np.uint8)
    scores = segmentation_scores(confusion_counts(pred, target, 7))
    for index in range(7):
        np.testing.assert_equal(scores.dice[index], reference.dice(pred, target, index))
        np.testing.assert_equal(scores.iou[index], reference.iou(pred, target, index))
    labelled = target != 255
    assert scores.overall_acc == (pred == target)[labelled].mean()


def test_absent_classes_are_nan_and_left_out_of_the_means():
    counts = np.diag([5, 0, 3]).astype(np.int64)
    scores = segmentation_scores(counts)
    assert np.isnan(scores.iou[1]) and np.isnan(scores.dice[1]) and scores.num_averaged == 2
    assert mean_present(scores.iou) == mean_present(scores.dice) == 1.0


def test_a_class_that_is_only_predicted_scores_0_and_counts():
    scores = segmentation_scores(np.array([[4, 1], [0, 0]]))
    assert scores.iou.tolist() == [0.8, 0.0] and scores.num_averaged == 2 and np.isnan(scores.acc[1])


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="at least one labelled pixel"):
        segmentation_scores(np.zeros((3, 3), np.int64))


def test_renamed_counts_are_those_of_renamed_pixels():
    rng = np.random.default_rng(0)
    pred, target = (rng.integers(0, 256, (40, 50)).astype(np.uint8) for _ in range(2))
    rows, columns = (rng.integers(0, 34, 256).astype(np.uint8) for _ in range(2))
    renamed = rename_counts(joint_histogram(pred, target), rows, columns, 34)
    np.testing.assert_array_equal(renamed, confusion_counts(columns[pred], rows[target], 34))


def test_classes_that_are_left_out_are_void_in_the_truth_and_misses_in_the_prediction():
    rng = np.random.default_rng(1)
    pred, target = (rng.integers(0, 6, (20, 30)).astype(np.uint8) for _ in range(2))
    members = [4, 0, 2]
    scores = segmentation_scores(restrict_counts(confusion_counts(pred, target, 6), members))
    void = np.where(np.isin(target, members), target, 255)
    for place, index in enumerate(members):
        assert scores.iou[place] == reference.iou(pred, void, index)
        assert scores.dice[place] == reference.dice(pred, void, index)
        assert scores.precision[place] == (target == index)[(pred == index) & (void != 255)].mean()
        assert scores.acc[place] == (pred == index)[target == index].mean()
    assert scores.overall_acc == (pred == target)[void != 255].mean()


def test_precision_and_means_of_what_is_absent():
    scores = segmentation_scores(np.array([[0, 4], [0, 0]]))
    assert np.isnan(scores.precision[0]) and scores.precision[1] == 0
    assert np.isnan(mean_present(np.array([np.nan, np.nan])))
