import cv2
import numpy as np
import pytest
import reference
from official import assert_equal_scores, official_scores

from cityseg_ext.functional.cityscapes_scores import NUM_IDS, cityscapes_scores, instance_sums
from cityseg_ext.functional.confusion import confusion_counts
from cityseg_ext.functional.records import add_up
from cityseg_ext.labels import (
    CITYSCAPES_19,
    CITYSCAPES_29,
    INSTANCE_SUFFIX,
    LABEL_BY_ID,
    LABEL_BY_NAME,
    LABEL_SUFFIXES,
    LABELS,
    MEAN_INSTANCE_PIXELS,
)

CASES = {
    "every label": (range(NUM_IDS), range(NUM_IDS)),
    "some absent": ((0, 3, 7, 8, 17, 18, 23, 24, 26, 29), (7, 8, 17, 24, 26, 27, 28)),
    "only predicted": ((7, 23), (7, 23, 24, 26, 31)),
    "void and one class": ((0, 1, 2, 3, 4, 5, 6, 23), (23, 0)),
    "ignored labels predicted": ((7, 11, 24, 26), (9, 10, 14, 15, 16, 18, 29, 30, 24, 26, 5, 6)),
    "no instances": ((7, 8, 11), (7, 8, 11)),
}


def images(case, count=3, shape=(20, 32)):
    """Blocks of labels with objects, groups without number, and predictions that are often right."""
    true_ids, pred_ids = (list(ids) for ids in CASES[case])
    rng = np.random.default_rng(sorted(CASES).index(case))
    for _ in range(count):
        true = rng.choice(true_ids, (shape[0] // 4, shape[1] // 4)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        pred = np.where(rng.random(shape) < 0.6, true, rng.choice(pred_ids, shape)).astype(np.uint8)
        number = rng.integers(0, 3, true.shape)
        has_instances = np.array([LABEL_BY_ID[int(k)].has_instances for k in true.flat]).reshape(true.shape)
        single = has_instances & (rng.random(true.shape) < 0.9)
        yield pred, true, np.where(single, true.astype(np.int64) * 1000 + number, true)


def score(images, taxonomy=CITYSCAPES_19):
    counts = sum(confusion_counts(pred, true, NUM_IDS) for pred, true, _ in images)
    return cityscapes_scores(counts, add_up([instance_sums(pred, obj) for pred, _, obj in images]), taxonomy)


@pytest.mark.parametrize("case", CASES)
def test_they_are_the_official_scores(case, tmp_path):
    data, paths = list(images(case)), []
    for index, (pred, true, objects) in enumerate(data):
        stem = f"a_{index:06d}_000000"
        paths.append((tmp_path / f"{stem}_pred.png", tmp_path / f"{stem}{LABEL_SUFFIXES['label_ids']}"))
        for path, pixels in zip(
            (*paths[-1], tmp_path / f"{stem}{INSTANCE_SUFFIX}"), (pred, true, objects.astype(np.uint16)), strict=True
        ):
            cv2.imwrite(str(path), pixels)
    assert_equal_scores(score(data), official_scores(*zip(*paths, strict=True)))


@pytest.mark.parametrize("taxonomy", [CITYSCAPES_19, CITYSCAPES_29], ids=lambda taxonomy: taxonomy.name)
@pytest.mark.parametrize("case", CASES)
def test_they_follow_the_published_definitions(case, taxonomy):
    data = list(images(case, count=2))
    categories = {}
    for label in LABELS:
        if label.id >= 0:
            ids, all_instances = categories.get(label.category, ([], True))
            categories[label.category] = [*ids, label.id], all_instances and label.has_instances
    sizes = {LABEL_BY_NAME[name].id: size for name, size in MEAN_INSTANCE_PIXELS.items()}
    expected = reference.official_scores(data, list(taxonomy.index_to_id), categories, sizes)
    scores = score(data, taxonomy)
    for part, by_id in zip(scores[:2], expected[:2], strict=True):
        assert list(part) == list(taxonomy.classes)
        np.testing.assert_allclose(list(part.values()), list(by_id.values()), rtol=0, atol=1e-12)
    for part, by_name in zip(scores[2:], expected[2:], strict=True):
        assert set(part) == set(by_name)
        np.testing.assert_allclose([part[name] for name in by_name], list(by_name.values()), rtol=0, atol=1e-12)


def test_licence_plates_are_void():
    """They are -1, which 8 bit hold as 255, and are never drawn: the script stops at such a pixel."""
    (pred, true, _), *_ = images("every label")
    plates = np.where(true == 26, 255, true).astype(np.uint8)
    void = np.where(true == 26, 0, true).astype(np.uint8)
    with_plates, with_void = (cityscapes_scores(confusion_counts(pred, truth, NUM_IDS)) for truth in (plates, void))
    np.testing.assert_equal(with_plates, with_void)


def test_without_instances_iiou_is_not_there():
    (pred, true, _), *_ = images("every label")
    scores = cityscapes_scores(confusion_counts(pred, true, NUM_IDS))
    assert np.isnan([*scores.iiou.values(), *scores.category_iiou.values()]).all()
    assert np.isnan(scores.means["miIoU"]) and scores.means["mIoU"] > 0


def test_the_order_of_images_does_not_matter():
    data = list(images("every label", count=5))
    assert repr(score(data)) == repr(score(data[::-1])) == repr(score([data[i] for i in (2, 0, 4, 1, 3)]))


def test_objects_of_labels_without_instances_are_refused():
    pred = np.full((1, 2), 7, np.uint8)
    with pytest.raises(ValueError, match="`instance_ids`.*but got 7001, 40002"):
        instance_sums(pred, np.array([[7001, 40002]]))
    with pytest.raises(ValueError, match=f"`instance_ids`.*but got 7001, {2**40}"):  # not a table of 8 TiB
        instance_sums(pred, np.array([[7001, 2**40]]))
    with pytest.raises(ValueError, match=r"shape \(1, 2\), but got \(2, 1\)"):
        instance_sums(pred, np.array([[7], [7]]))


def test_nothing_evaluated_is_an_error():
    counts = np.zeros((NUM_IDS, NUM_IDS), np.int64)
    counts[0, 7] = 5
    with pytest.raises(ValueError, match="at least one labelled pixel"):
        cityscapes_scores(counts)
