import pickle

import numpy as np
import pytest
from mmseg.datasets.transforms import RandomCrop
from mmseg.registry import TRANSFORMS
from torch.utils.data import DataLoader

from cityseg_ext.apis.dataset_statistics import save_statistics
from cityseg_ext.functional.class_sampling import ClassSampling
from cityseg_ext.functional.dataset_statistics import DatasetStatistics, SplitStatistics
from cityseg_ext.labels import CITYSCAPES_19, IGNORE_INDEX

ROAD, BUILDING, POLE, RIDER = 0, 2, 5, 12


def street(height=64, width=128):
    """A label map of road and building, with a pole and a rider somewhere near its ends, and some void."""
    labels = np.full((height, width), BUILDING, np.uint8)
    labels[height // 2 :] = ROAD
    labels[4:30, 3:5] = POLE
    labels[30:36, width - 6 : width - 2] = RIDER
    labels[-4:] = IGNORE_INDEX
    return labels


def sample(labels):
    """A sample in which each pixel of the photograph and of a second map tells where it came from."""
    where = np.arange(labels.size).reshape(labels.shape)
    return dict(
        img=np.stack([where] * 3, axis=2), gt_seg_map=labels, gt_where=where, seg_fields=["gt_seg_map", "gt_where"]
    )


def counts_of(maps):
    return np.array([np.bincount(labels.reshape(-1), minlength=256)[: len(CITYSCAPES_19.classes)] for labels in maps])


def write_stats(folder, maps, split="train"):
    counts = counts_of(maps)
    areas = np.array([labels.size for labels in maps])
    part = SplitStatistics(
        tuple(f"{index}.png" for index in range(len(maps))),
        counts,
        areas - counts.sum(1),
        np.zeros((len(maps), 2), int),
    )
    statistics = DatasetStatistics("f", CITYSCAPES_19.classes, CITYSCAPES_19.palette, {split: part}, ())
    return str(save_statistics(statistics, folder / "stats, ü"))


@pytest.fixture
def maps():
    plain = np.where(street() == RIDER, ROAD, street()).astype(np.uint8)
    return [street(), plain, plain, np.where(plain == POLE, BUILDING, plain).astype(np.uint8)]


@pytest.fixture
def stats(tmp_path, maps):
    return write_stats(tmp_path, maps)


def make(size=(32, 32), statistics=None, **options):
    return TRANSFORMS.build(dict(type="ClassAwareCrop", crop_size=size, statistics=statistics, **options))


def crops(transform, labels, number):
    np.random.seed(0)
    return [transform(sample(labels.copy()))["gt_seg_map"] for _ in range(number)]


def test_rare_classes_are_kept_where_random_crop_loses_them(stats):
    labels = street()
    has = np.count_nonzero(labels == RIDER)
    aware = [np.count_nonzero(crop == RIDER) for crop in crops(make(statistics=stats), labels, 300)]
    random = [np.count_nonzero(crop == RIDER) for crop in crops(RandomCrop((32, 32), cat_max_ratio=0.75), labels, 300)]
    assert np.mean(np.array(random) > 0) < 0.35
    assert np.mean(np.array(aware) >= has / 2) > 0.6  # the rest were drawn for the pole


def test_classes_are_drawn_as_the_sampler_drew_the_image_for_them(stats, maps):
    """The probabilities are those by Bayes: see tests/functional/test_class_sampling.py."""
    sampling = ClassSampling.of(counts_of(maps), np.array([labels.size for labels in maps]), 0.05, 0.0015)
    expected = sampling.classes(counts_of(maps)[0], maps[0].size)
    transform = make((20, 20), stats, temperature=0.05, cat_max_ratio=1)
    number = 2000
    np.random.seed(0)
    targets = [transform._draw_target({}, maps[0])[0] for _ in range(number)]
    found = np.bincount(targets, minlength=len(expected))
    assert expected[RIDER] > 0.5 > expected[POLE] > 0.1 > expected[ROAD] > 0
    assert (abs(found - number * expected) <= 5 * np.sqrt(number * expected * (1 - expected))).all()


def test_without_statistics_all_classes_are_alike():
    np.random.seed(0)
    targets = [make()._draw_target({}, street())[0] for _ in range(2000)]
    values, found = np.unique(targets, return_counts=True)
    assert values.tolist() == [ROAD, BUILDING, POLE, RIDER]
    assert (abs(found - 500) <= 5 * np.sqrt(2000 * 0.25 * 0.75)).all()


@pytest.mark.parametrize("min_share", [0.0, 0.001, 0.05])
def test_each_crop_holds_enough_of_some_class(min_share, stats):
    labels = street()
    least = {c: min(min_share * labels.size, np.count_nonzero(labels == c) / 2) for c in (POLE, RIDER)}
    for crop in crops(make((40, 24), stats, min_share=min_share), labels, 100):
        assert crop.shape == (40, 24)
        assert any(np.count_nonzero(crop == c) >= max(1, least[c]) for c in least)


def test_all_such_crops_are_as_likely(stats):
    """Frequencies of positions against those of endless retries."""
    labels = np.full((6, 12), ROAD, np.uint8)
    labels[2, 3:5] = RIDER
    transform = make((3, 4), stats, cat_max_ratio=1)
    good = [(y, x) for y in range(4) for x in range(9) if (labels[y : y + 3, x : x + 4] == RIDER).any()]
    np.random.seed(0)
    boxes = [transform.crop_bbox(sample(labels)) for _ in range(2000)]
    assert all((y2 - y1, x2 - x1) == (3, 4) for y1, y2, x1, x2 in boxes)
    found = [sum(box[0] == y and box[2] == x for box in boxes) for y, x in good]
    assert sum(found) == 2000
    p = 1 / len(good)
    assert (abs(np.array(found) - 2000 * p) <= 5 * np.sqrt(2000 * p * (1 - p))).all()


def test_what_does_not_fit_into_a_crop_is_kept_as_far_as_possible(stats):
    labels = np.full((8, 32), ROAD, np.uint8)
    labels[:, [0, 31]] = RIDER
    labels[0, 31] = ROAD
    for crop in crops(make((8, 8), stats, min_share=0.9), labels, 20):  # 0.9 of the image, or 7.5 pixels
        assert np.count_nonzero(crop == RIDER) == 8


def test_photograph_and_all_maps_are_cropped_alike(stats):
    labels = street()
    np.random.seed(0)
    for _ in range(20):
        result = make((24, 40), stats)(sample(labels))
        assert result["img_shape"] == result["img"].shape[:2] == (24, 40)
        np.testing.assert_array_equal(result["img"][..., 1], result["gt_where"])
        np.testing.assert_array_equal(labels.reshape(-1)[result["gt_where"]], result["gt_seg_map"])


@pytest.mark.parametrize("size", [(100, 200), (100, 32), (32, 200), (64, 128)])
def test_an_image_smaller_than_the_crop_is_kept_whole(size, stats):
    np.random.seed(0)
    result = make(size, stats)(sample(street()))
    shape = tuple(min(a, b) for a, b in zip(size, (64, 128), strict=True))
    assert result["img_shape"] == result["gt_seg_map"].shape == result["gt_where"].shape == shape
    ours, theirs = result["img"].shape, RandomCrop(size)(sample(street()))["img"].shape
    assert ours == theirs


def test_void_only_is_cropped_at_random(stats):
    labels = np.full((12, 16), IGNORE_INDEX, np.uint8)
    np.random.seed(0)
    corners = {int(make((4, 8), stats)(sample(labels))["gt_where"][0, 0]) for _ in range(600)}
    assert len(corners) == 9 * 9


def test_classes_that_the_data_set_lacks_are_no_target(stats):
    labels = np.full((12, 16), 18, np.uint8)
    np.random.seed(0)
    assert make((4, 8), stats)(sample(labels))["gt_seg_map"].shape == (4, 8)


def test_no_labels(stats):
    np.random.seed(0)
    result = make((4, 8), stats)(dict(img=np.zeros((12, 16, 3), np.uint8)))
    assert result["img"].shape == (4, 8, 3)


@pytest.mark.parametrize("ratio", [0.6, 1])
def test_crops_of_one_class_are_drawn_again(ratio):
    labels = np.full((32, 320), ROAD, np.uint8)
    labels[:, np.arange(320) // 32 % 2 == 1] = BUILDING
    found = crops(make(cat_max_ratio=ratio), labels, 200)
    uniform = np.mean([np.bincount(crop.reshape(-1)).max() >= 0.6 * crop.size for crop in found])
    assert uniform > 0.6 if ratio == 1 else uniform < 0.3


def test_tries_are_bounded(monkeypatch):
    transform = make(cat_max_ratio=0.1)
    looks = []
    monkeypatch.setattr(transform, "_is_mixed", lambda crop: looks.append(crop))
    np.random.seed(0)
    assert transform(sample(street()))["img_shape"] == (32, 32)
    assert len(looks) == 10


def test_the_global_random_state_decides(stats):
    first, again = (crops(make(statistics=stats), street(), 5) for _ in range(2))
    np.testing.assert_array_equal(first, again)


class Items:
    """A data set of one label map."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 4

    def __getitem__(self, index):
        np.random.seed(index)
        return self.transform(sample(street()))["gt_seg_map"]


def test_workers_that_are_spawned(stats, tmp_path):
    transform = make(statistics=stats)
    assert pickle.loads(pickle.dumps(transform)).crop_size == (32, 32)
    (tmp_path / "stats, ü" / "stats.json").unlink()  # it is read once, at the start
    loader = DataLoader(Items(transform), batch_size=None, num_workers=1, multiprocessing_context="spawn")
    for index, labels in enumerate(loader):
        np.testing.assert_array_equal(labels, Items(transform)[index])


def test_statistics_of_other_classes_are_refused(stats):
    assert make(statistics=stats)(sample(street()) | dict(taxonomy="cityscapes19"))["img_shape"] == (32, 32)
    with pytest.raises(ValueError, match="of the 29 classes of the data, but got those of other 19.*check_dataset.py"):
        make(statistics=stats)(sample(street()) | dict(taxonomy="cityscapes29"))


def test_label_maps_of_another_type_are_refused():
    with pytest.raises(ValueError, match="`gt_seg_map` to be class indices of type uint8, but got int64"):
        make()(sample(street().astype(np.int64)))


def test_statistics_without_training_labels_are_refused(tmp_path, maps):
    with pytest.raises(ValueError, match="training labels, but got none in '.*stats, ü.*train_dataloader"):
        make(statistics=write_stats(tmp_path, maps, split="val"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(statistics="none.json"), FileNotFoundError, "none.json.*no file.*tools/check_dataset.py"),
        (dict(min_share=1.0), ValueError, "`min_share`"),
        (dict(temperature=0), ValueError, "`temperature`"),
    ],
)
def test_wrong_arguments(options, error, message, stats):
    with pytest.raises(error, match=message):
        make(**(dict(statistics=stats) | options))


def test_repr_names_the_arguments(stats):
    assert eval(repr(make((3, 4), stats)), {"ClassAwareCrop": type(make())}).crop_size == (3, 4)
