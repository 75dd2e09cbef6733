import numpy as np
import pytest

from cityseg_ext.functional.color_mask import decode_color_mask, decode_label_ids, encode_color_mask
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_29, LABELS

TABLE = CITYSCAPES_19.color_to_index


def painted(taxonomy, indices):
    """The obvious way: one assignment a pixel."""
    mask = np.zeros((*indices.shape, 3), np.uint8)
    for place in np.ndindex(indices.shape):
        if indices[place] != 255:
            mask[place] = taxonomy.palette[indices[place]]
    return mask


@pytest.mark.parametrize("shape", [(1, 1), (9, 7), (33, 41), (64, 65)])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_round_trip_of_all_classes(shape, alpha, order):
    rng = np.random.default_rng(0)
    indices = rng.choice([*range(19), 255], shape).astype(np.uint8)
    mask = painted(CITYSCAPES_19, indices)
    mask = mask if order == "rgb" else mask[..., ::-1]
    if alpha:
        mask = np.dstack([mask, np.full(shape, 255, np.uint8)])
    decoded = decode_color_mask(mask, TABLE, channel_order=order)
    np.testing.assert_array_equal(decoded.indices, indices)
    assert decoded.unknown == {} and decoded.indices.dtype == np.uint8


def test_red_and_blue_are_not_swapped():
    rider = np.array([[[255, 0, 0]]], np.uint8)
    assert decode_color_mask(rider, TABLE, channel_order="rgb").indices[0, 0] == CITYSCAPES_19.classes.index("rider")
    assert decode_color_mask(rider, TABLE, channel_order="bgr").unknown == {(0, 0, 255): 1}


@pytest.mark.parametrize("taxonomy", [CITYSCAPES_19, CITYSCAPES_29], ids=lambda taxonomy: taxonomy.name)
def test_every_official_colour_is_known(taxonomy):
    mask = np.array([[label.color for label in LABELS]], np.uint8)
    decoded = decode_color_mask(mask, taxonomy.color_to_index, channel_order="rgb")
    assert decoded.unknown == {}
    for label, index in zip(LABELS, decoded.indices[0], strict=True):
        if label.name not in ("polegroup", "license plate"):  # read as pole and car, by colour
            assert index == taxonomy.id_to_index[label.id], label.name


def test_unknown_colours_are_counted_most_frequent_first():
    mask = np.zeros((4, 4, 3), np.uint8)
    mask[0] = (1, 2, 3)
    mask[1, :2] = (128, 64, 129)  # road, off by one
    decoded = decode_color_mask(mask, TABLE, channel_order="rgb")
    assert list(decoded.unknown.items()) == [((1, 2, 3), 4), ((128, 64, 129), 2)]
    assert (decoded.indices == 255).all()


def test_transparent_pixels_are_unknown():
    mask = np.full((2, 2, 4), (128, 64, 128, 255), np.uint8)
    mask[0, 0, 3] = 0
    decoded = decode_color_mask(mask, TABLE, channel_order="rgb")
    assert decoded.indices.tolist() == [[255, 0], [0, 0]] and decoded.unknown == {(128, 64, 128): 1}


def test_input_is_not_changed_and_may_be_a_view():
    mask = painted(CITYSCAPES_19, np.arange(16, dtype=np.uint8).reshape(4, 4))
    wide = np.repeat(np.repeat(mask, 2, 0), 2, 1)
    before = wide.copy()
    np.testing.assert_array_equal(decode_color_mask(wide[::2, ::2], TABLE, "rgb").indices.ravel(), range(16))
    np.testing.assert_array_equal(wide, before)


@pytest.mark.parametrize(
    "mask", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.int64)]
)
def test_other_arrays_are_refused(mask):
    with pytest.raises(ValueError, match="`mask` to be uint8 of shape"):
        decode_color_mask(mask, TABLE)


def test_options_are_checked():
    mask = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(ValueError, match="`channel_order` .* but got 'gbr'"):
        decode_color_mask(mask, TABLE, channel_order="gbr")
    with pytest.raises(ValueError, match="`mode` .* but got 'exakt'. Did you mean 'exact'"):
        decode_color_mask(mask, TABLE, mode="exakt")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_ids_are_translated(dtype):
    ids = np.array([[label.id for label in LABELS if label.id >= 0]], dtype)
    decoded = decode_label_ids(ids, CITYSCAPES_19.id_to_index)
    assert decoded.indices[0].tolist() == [label.train_id for label in LABELS if label.id >= 0]
    assert decoded.unknown == {}


def test_wide_ids_do_not_wrap_around():
    decoded = decode_label_ids(np.array([[26001, 7, -1]]), CITYSCAPES_19.id_to_index)  # 26001 % 256 == 145
    assert decoded.unknown == {-1: 1, 26001: 1} and decoded.indices.tolist() == [[255, 0, 255]]


def test_ids_must_be_a_map_of_integers():
    for ids in (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="`ids` to be integers of shape"):
            decode_label_ids(ids, CITYSCAPES_19.id_to_index)


def test_encode_is_the_inverse_of_decode():
    indices = np.array([[0, 18, 255, 13]], np.uint8)
    mask = encode_color_mask(indices, CITYSCAPES_19.palette)
    np.testing.assert_array_equal(decode_color_mask(mask, TABLE, "rgb").indices, indices)
