import json

import numpy as np
import pytest

from cityseg_ext.functional.class_statistics import enet_weights
from cityseg_ext.functional.dataset_statistics import (
    DatasetStatistics,
    Problem,
    SplitStatistics,
    statistics_from_dict,
    statistics_to_dict,
)


def make(counts=((3, 0), (2, 2))):
    counts = np.array(counts, np.int64)
    split = SplitStatistics(
        images=tuple(f"ünïcode, {i}.png" for i in range(len(counts))),
        counts=counts,
        void=np.arange(len(counts)),
        sizes=np.full((len(counts), 2), 2),
    )
    problems = (Problem("warning", "void", "train", None, "A sentence."),)
    return DatasetStatistics("abc", ("road", "sky"), ((1, 2, 3), (4, 5, 6)), {"train": split}, problems)


def test_a_trip_through_json_changes_nothing():
    before = make()
    after = statistics_from_dict(json.loads(json.dumps(statistics_to_dict(before))), "stats.json")
    assert (after.fingerprint, after.classes, after.palette) == (before.fingerprint, before.classes, before.palette)
    assert after.problems == before.problems and not after.errors
    one, two = before.splits["train"], after.splits["train"]
    assert one.images == two.images
    for name in ("counts", "void", "sizes"):
        assert (getattr(one, name) == getattr(two, name)).all() and getattr(two, name).dtype == np.int64
    assert two.pixels.tolist() == [5, 2] and two.images_with_class.tolist() == [2, 1]
    assert after.class_weights["enet"].tolist() == enet_weights([5, 2]).tolist()


def test_no_training_labels_no_weights():
    assert make(((0, 0),)).class_weights == {}


def damage(**changes):
    return statistics_to_dict(make()) | changes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "other JSON"),
        ({"classes": []}, "other JSON"),
        (damage(version=0), "of version 1, but got version 0"),
        (damage(splits={"train": {}}), "KeyError: 'images'"),
        (damage(classes=["road"]), "where whole numbers of"),
        (damage(splits=[]), "damaged parts"),
        (damage(problems=[{"severity": "bad"}]), "damaged parts"),
        (damage(palette=[[1, 2]]), "damaged parts"),
    ],
)
def test_other_files_are_refused_by_name(data, message):
    with pytest.raises(ValueError, match=f"'some/file.json' to be .*{message}"):
        statistics_from_dict(data, "some/file.json")


@pytest.mark.parametrize("counts", [[[1.5, 2], [0, 0]], [[-1, 2], [0, 0]], [[1], [2, 3]], [[10**30, 1], [0, 0]]])
def test_counts_must_be_whole_numbers(counts):
    data = statistics_to_dict(make())
    data["splits"]["train"]["counts"] = counts
    with pytest.raises(ValueError, match="dataset statistics"):
        statistics_from_dict(data, "x.json")
