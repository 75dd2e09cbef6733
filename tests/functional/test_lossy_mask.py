"""Masks that were smoothed or saved as JPEG; pictures are rendered here, so that the truth is known."""

import cv2
import numpy as np
import pytest
import torch

from cityseg_ext.apis.mask_damage import damage_mask
from cityseg_ext.apis.synthetic_cityscapes import paint_label_ids
from cityseg_ext.functional.boundary import border_band
from cityseg_ext.functional.color_mask import decode_color_mask
from cityseg_ext.functional.mask_decoder import EFFORTS, MaskDecoder, decide, load_mask_decoder
from cityseg_ext.functional.synthetic import render_scene
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_29, COLORS, LABELS

TABLE = CITYSCAPES_19.color_to_index
POLE, BUILDING, SKY, ROAD, CAR = (
    CITYSCAPES_19.classes.index(name) for name in ("pole", "building", "sky", "road", "car")
)
CLASS_OF_ID = np.full(256, 255, np.uint8)
for label in LABELS:
    if label.id >= 0:
        CLASS_OF_ID[label.id] = TABLE[label.color]


def scene(seed, resize="area", quality=90, subsampling="4:2:0", size=192):
    """A damaged mask and its truth; no training saw these seeds."""
    ids = render_scene((1 << 34) + seed, 384, 768).label_ids
    truth = cv2.resize(CLASS_OF_ID[ids], (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    return damage_mask(paint_label_ids(ids), size, size, resize, quality, subsampling), truth


def robust(mask, table=TABLE, **options):
    return decode_color_mask(mask, table, "rgb", mode="robust", **options)


def third_classes(found, truth):
    """Share of border pixels whose class is nowhere within 3 px in the truth."""
    near = np.zeros(truth.shape, bool)
    for value in np.unique(found):
        near |= (found == value) & (cv2.dilate((truth == value).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)
    return (~near)[border_band(truth)].mean()


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(
    "damage",
    [("area", 95, "4:2:0"), ("bicubic", 75, "4:2:0"), ("linear", 60, "4:4:4"), ("lanczos", None, "4:2:0")],
    ids=str,
)
def test_it_beats_the_nearest_colour_at_borders(damage, effort):
    right, right_nearest, third, third_nearest = [], [], [], []
    for seed in range(3):
        mask, truth = scene(seed, *damage)
        band = border_band(truth)
        found = robust(mask, effort=effort).indices
        nearest = decode_color_mask(mask, TABLE, "rgb", mode="nearest").indices
        right.append((found == truth)[band].mean())
        right_nearest.append((nearest == truth)[band].mean())
        third.append(third_classes(found, truth))
        third_nearest.append(third_classes(nearest, truth))
    assert 1 - np.mean(right) < 0.7 * (1 - np.mean(right_nearest))
    assert np.mean(third) < 0.4 * np.mean(third_nearest)


def test_thin_poles_survive():
    ids = np.full((256, 512), 23, np.uint8)  # sky above building
    ids[128:] = 11
    ids[:, 100:104] = ids[:, 300:305] = 17  # poles of one pixel, after shrinking by four
    truth = cv2.resize(CLASS_OF_ID[ids], (128, 64), interpolation=cv2.INTER_NEAREST_EXACT)
    mask = damage_mask(paint_label_ids(ids), 64, 128, "area", 90)
    for effort in EFFORTS:
        found = robust(mask, effort=effort).indices
        assert (found == POLE)[truth == POLE].mean() > 0.9
        assert set(np.unique(found)) <= {POLE, BUILDING, SKY}


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (7, 5), (33, 257), (258, 31)])
def test_any_size(shape):
    mask = damage_mask(np.full((*shape, 3), COLORS[7], np.uint8), *shape, "area", 70)
    decoded = robust(mask)
    assert decoded.indices.shape == shape and (decoded.indices == TABLE[COLORS[7]]).all()


def test_a_clean_mask_decodes_as_exactly(monkeypatch):
    ids = render_scene(3, 96, 160).label_ids
    mask = paint_label_ids(ids)
    monkeypatch.setattr("cityseg_ext.functional.lossy_mask.decide", None)  # and the network is not asked
    for mode in ("nearest", "robust"):
        decoded = decode_color_mask(mask, TABLE, "rgb", mode=mode)
        np.testing.assert_array_equal(decoded.indices, CLASS_OF_ID[ids])
        assert (decoded.exact, decoded.resolved, decoded.uncertain, decoded.unknown) == (ids.size, 0, 0, {})


def test_pixels_of_exact_colour_keep_their_class():
    mask, _ = scene(0)
    exact = decode_color_mask(mask, TABLE, "rgb").indices
    known = (mask[:, :, None] == np.array(list(TABLE))).all(-1).any(-1)
    assert 0.05 < known.mean() < 0.95
    np.testing.assert_array_equal(robust(mask).indices[known], exact[known])


def test_every_pixel_is_counted_once():
    mask, _ = scene(1, quality=60)
    mask = np.dstack([mask, np.full(mask.shape[:2], 255, np.uint8)])
    mask[:10, :10, 3] = 0  # transparent: unknown
    decoded = robust(mask)
    assert decoded.resolved > 0 and decoded.uncertain > 0 and sum(decoded.unknown.values()) == 100
    assert decoded.exact + decoded.resolved + decoded.uncertain + 100 == decoded.indices.size


def test_what_is_uncertain_can_be_left_out():
    mask, truth = scene(1, quality=60)
    resolved, ignored = robust(mask), robust(mask, uncertain="ignore")
    changed = resolved.indices != ignored.indices
    assert (ignored.indices[changed] == 255).all() and ignored.uncertain == resolved.uncertain >= changed.sum() > 0
    # It is really the doubtful ones: more of them are wrong than of the other mixed pixels.
    wrong = resolved.indices != truth
    assert wrong[changed].mean() > 0.3 > 3 * wrong[~changed & border_band(truth)].mean()


def test_mixtures_alone_do_not_make_a_class():
    """Speckle of black on the blue of the sky mixes to the blue of a train, of which the mask shows nothing else."""
    rng = np.random.default_rng(0)
    sharp = np.full((256, 256, 3), CITYSCAPES_19.palette[SKY], np.uint8)
    sharp[rng.random((256, 256)) < 0.02] = 0
    sharp[200:, 200:] = 0  # there is void, and it is shown
    mask = damage_mask(sharp, 160, 160, "area", 90)
    blue = np.array(CITYSCAPES_19.palette[CITYSCAPES_19.classes.index("train")])
    assert (np.abs(mask.astype(int) - blue).max(-1) < 45).sum() > 100
    for effort in EFFORTS:
        assert set(np.unique(robust(mask, effort=effort).indices)) == {SKY, 255}


def test_a_foreign_colour_is_unknown_where_it_fills_an_area():
    mask = np.full((64, 64, 3), COLORS[7], np.uint8)
    mask[16:48, 16:48] = (0, 255, 0)
    decoded = robust(damage_mask(mask, 64, 64, "area", 95))
    reds, greens, blues = zip(*decoded.unknown, strict=True)
    assert sum(decoded.unknown.values()) > 400 and max(reds) < 20 and min(greens) > 235 and max(blues) < 20


def test_it_is_deterministic_and_tiles_do_not_show():
    mask, _ = scene(2)
    once, again = robust(mask), robust(mask.copy())
    np.testing.assert_array_equal(once.indices, again.indices)
    wide = np.tile(mask, (2, 2, 1))  # 384 x 384: four tiles of up to 256
    everything = np.ones(wide.shape[:2], bool)
    decisions = decide(wide, everything, np.arange(len(COLORS)), "fast")
    image = np.ascontiguousarray(wide.transpose(2, 0, 1)[None], np.float32) / 255 - 0.5
    with torch.inference_mode():
        whole = load_mask_decoder("fast")(torch.from_numpy(image))[0].softmax(0).max(0)
    assert (whole.indices.numpy().ravel() == decisions.column).mean() > 0.9999  # convolutions may round otherwise
    np.testing.assert_allclose(whole.values.numpy().ravel(), decisions.probability, atol=1e-3)


def test_loading_takes_no_random_numbers():
    load_mask_decoder.cache_clear()
    before = torch.get_rng_state()
    load_mask_decoder("fast")
    assert torch.equal(torch.get_rng_state(), before)


def test_untrained_it_is_the_nearest_colour():
    decoder = MaskDecoder(8, 1)
    with torch.no_grad():
        decoder.head.weight[:, :8] = 0
        colors = torch.tensor(COLORS)[torch.randint(len(COLORS), (12, 14))]
        logits = decoder(colors.permute(2, 0, 1)[None] / 255 - 0.5)
    np.testing.assert_array_equal(torch.tensor(COLORS)[logits[0].argmax(0)], colors)


def test_voids_of_one_index_are_one_class():
    mask, _ = scene(4)
    as_29 = robust(mask, CITYSCAPES_29.color_to_index)
    assert as_29.indices.max() in (*range(CITYSCAPES_29.num_classes), 255)
    back = np.full(256, 255, np.uint8)
    back[: CITYSCAPES_29.num_classes] = [CITYSCAPES_19.id_to_index[number] for number in CITYSCAPES_29.index_to_id]
    assert (back[as_29.indices] == robust(mask).indices).mean() > 0.998
    assert as_29.exact == robust(mask).exact


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(uncertain="drop"), "`uncertain` to be one of"),
        (dict(effort="bst"), "`effort` to be one of.*Did you mean 'best'"),
        (dict(table={(1, 2, 3): 0}), "Cityscapes colours only with mode='robust'.*mode='nearest'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        robust(np.zeros((4, 4, 3), np.uint8), **options)
