import pytest

from cityseg_ext.labels import (
    CITYSCAPES_19,
    CITYSCAPES_29,
    FRAME_NAME,
    INSTANCE_SUFFIX,
    LABEL_BY_ID,
    LABEL_BY_NAME,
    LABEL_SUFFIXES,
    LABELS,
    PHOTO_SUFFIXES,
    PREDICTION_NAME,
    PREDICTION_SUFFIX,
    SPLIT_CITIES,
    SPLIT_IMAGES,
    Taxonomy,
    get_taxonomy,
    shared_colors,
)


def test_the_table_has_the_official_facts():
    assert len(LABELS) == len(LABEL_BY_NAME) == len(LABEL_BY_ID) == 35
    assert [label.id for label in LABELS] == [*range(34), -1]
    assert sorted(label.train_id for label in LABELS if label.train_id not in (-1, 255)) == list(range(19))
    assert {label.train_id for label in LABELS if label.ignore_in_eval} == {-1, 255}
    categories = {label.category_id: label.category for label in LABELS}
    assert categories == dict(
        enumerate(["void", "flat", "construction", "object", "nature", "sky", "human", "vehicle"])
    )
    with_instances = {label.name for label in LABELS if label.has_instances}
    assert with_instances == {
        *("person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle")
    }
    assert len({label.color for label in LABELS}) == 29


def test_the_19_classes_are_mmsegs():
    from mmseg.datasets import CityscapesDataset

    assert CITYSCAPES_19.classes == CityscapesDataset.METAINFO["classes"]
    assert CITYSCAPES_19.metainfo["palette"] == CityscapesDataset.METAINFO["palette"]
    assert CITYSCAPES_19.index_to_id == (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def test_the_29_classes_are_ids_5_to_33():
    assert CITYSCAPES_29.index_to_id == tuple(range(5, 34))
    assert CITYSCAPES_29.num_classes == len(CITYSCAPES_29.palette) == 29


def test_shared_colors_are_stated_and_decode_to_the_evaluated_label():
    assert set(map(frozenset, shared_colors().values())) == {
        frozenset({"unlabeled", "ego vehicle", "rectification border", "out of roi", "static"}),
        frozenset({"pole", "polegroup"}),
        frozenset({"car", "license plate"}),
    }
    for taxonomy in (CITYSCAPES_19, CITYSCAPES_29):
        for label in ("pole", "car"):
            index = taxonomy.color_to_index[LABEL_BY_NAME[label].color]
            assert taxonomy.classes[index] == label
        assert taxonomy.color_to_index[(0, 0, 0)] == 255


@pytest.mark.parametrize("taxonomy", [CITYSCAPES_19, CITYSCAPES_29], ids=lambda taxonomy: taxonomy.name)
def test_maps_agree_both_ways(taxonomy: Taxonomy):
    for index, (name, number, color) in enumerate(
        zip(taxonomy.classes, taxonomy.index_to_id, taxonomy.palette, strict=True)
    ):
        assert taxonomy.id_to_index[number] == index
        assert LABEL_BY_NAME[name][1] == number
        if name != "polegroup":
            assert taxonomy.color_to_index[color] == index
    assert set(taxonomy.id_to_index) == set(LABEL_BY_ID)
    assert sum(index != 255 for index in taxonomy.id_to_index.values()) == taxonomy.num_classes


def test_the_widely_copied_sky_colour_is_sky():
    assert CITYSCAPES_19.color_to_index[(0, 130, 180)] == CITYSCAPES_19.classes.index("sky")


def test_unknown_taxonomy_is_refused():
    with pytest.raises(ValueError, match=r"`taxonomy` .*cityscapes19.*but got 'cityscapes20'"):
        get_taxonomy("cityscapes20")


def test_predictions_are_told_from_photographs_and_ground_truth():
    name = f"berlin_000000_000019{PREDICTION_SUFFIX}"
    assert PREDICTION_NAME.fullmatch(name).group(1) == FRAME_NAME.fullmatch(name).group(1) == "berlin_000000_000019"
    assert not name.endswith((*PHOTO_SUFFIXES, *LABEL_SUFFIXES.values(), INSTANCE_SUFFIX))
    assert SPLIT_CITIES.keys() <= SPLIT_IMAGES.keys()
