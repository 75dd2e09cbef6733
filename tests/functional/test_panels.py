import numpy as np
import pytest

from cityseg_ext.functional.overlay import overlay
from cityseg_ext.functional.panels import comparison_panel, contact_sheet, enlarge, label_panel
from cityseg_ext.labels import CITYSCAPES_19, IGNORE_INDEX

CLASSES, PALETTE = CITYSCAPES_19.classes, CITYSCAPES_19.palette


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (30, 41, 3), np.uint8)
    indices = np.full((30, 41), IGNORE_INDEX, np.uint8)
    indices[:, :20], indices[:10, 20:30] = 0, 8
    return photo, indices


def on_border(indices, y, x):
    right = x + 1 < indices.shape[1] and indices[y, x] != indices[y, x + 1]
    return right or (y + 1 < indices.shape[0] and indices[y, x] != indices[y + 1, x])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_overlay_pixel_by_pixel(scene, alpha):
    photo, indices = scene
    shown = overlay(photo, indices, PALETTE, alpha)
    assert shown.dtype == np.uint8 and shown.shape == photo.shape
    for y in range(30):
        for x in range(41):
            index = indices[y, x]
            color = np.array((0, 0, 0) if index == IGNORE_INDEX else PALETTE[index])
            if on_border(indices, y, x):
                assert (shown[y, x] == color // 2 + 127).all()
            elif index != IGNORE_INDEX:
                assert abs(shown[y, x] - (alpha * color + (1 - alpha) * photo[y, x])).max() <= 0.51


def test_void_shows_the_photograph_under_black_and_white_lines(scene):
    photo, _ = scene
    shown = overlay(photo, np.full((30, 41), IGNORE_INDEX, np.uint8), PALETTE, 1.0)
    same = (shown == photo).all(axis=-1)
    black, white = ((shown == value).all(axis=-1) for value in (0, 255))
    assert 0.7 < same.mean() < 0.9 and 0.08 < black.mean() < 0.15 and 0.08 < white.mean() < 0.15
    assert (same | black | white).all()


def test_overlay_leaves_its_arguments_alone(scene):
    photo, indices = scene
    before = photo.copy(), indices.copy()
    overlay(photo, indices, PALETTE)
    assert (photo == before[0]).all() and (indices == before[1]).all()


def test_overlay_checks(scene):
    photo, indices = scene
    with pytest.raises(ValueError, match=r"`indices` to be of the photograph's size \(30, 41\), but got \(30, 40\)"):
        overlay(photo, indices[:, :-1], PALETTE)
    for alpha in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="`alpha` to be from 0 to 1"):
            overlay(photo, indices, PALETTE, alpha)


def test_label_panel_shows_its_three_pictures(scene):
    photo, indices = scene
    panel = label_panel(photo, indices, CLASSES, PALETTE, "a.png", 0.4)
    tiles = [panel[40:70, left : left + 41] for left in (0, 47, 94)]
    assert (tiles[0] == photo).all() and (tiles[1] == overlay(photo, indices, PALETTE, 0.4)).all()
    assert (tiles[2][0, 0] == PALETTE[0]).all() and (tiles[2][29, 40] == 0).all()
    empty = label_panel(photo, indices, CLASSES, PALETTE, "", 0.4)
    assert (panel[20:] == empty[20:]).all() and (panel[:20] != empty[:20]).any()


def test_the_legend_names_what_occurs(scene):
    photo, indices = scene
    with_void = comparison_panel(photo, {"truth": indices}, CLASSES, PALETTE)[50:].reshape(-1, 3).tolist()
    for color in (PALETTE[0], PALETTE[8], (0, 0, 0)):
        assert list(color) in with_void
    assert list(PALETTE[10]) not in with_void


def test_long_headings_show_their_end(scene):
    photo, indices = scene
    texts = ("x" * 200 + "end", "x" * 300 + "end", "x" * 200 + "END")
    first, longer, other = (label_panel(photo, indices, CLASSES, PALETTE, text)[:20] for text in texts)
    assert (first == longer).all() and (first != other).any()


@pytest.mark.parametrize(
    ("size", "factor"), [((1, 1), 256), ((64, 128), 4), ((100, 90), 2), ((192, 384), 1), ((999, 300), 1)]
)
def test_small_pictures_are_enlarged_in_blocks(size, factor):
    picture = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    large = enlarge(picture)
    assert large.shape == (size[0] * factor, size[1] * factor)
    assert (large[::factor, ::factor] == picture).all() and (large[factor - 1 :: factor, ::factor] == picture).all()


@pytest.mark.parametrize(("count", "shape"), [(1, (70, 80)), (3, (70, 252)), (4, (146, 252)), (7, (222, 252))])
def test_sheets_grow_by_rows(count, shape):
    pictures = [(str(index), np.full((50, 80, 3), index * 20, np.uint8)) for index in range(count)]
    sheet = contact_sheet(pictures, columns=3, width=1000)
    assert sheet.shape == (*shape, 3)
    for index in range(count):
        top, left = 76 * (index // 3) + 20, 86 * (index % 3)
        assert (sheet[top : top + 50, left : left + 80] == index * 20).all()


def test_sheets_keep_to_their_width_and_need_a_picture():
    pictures = [("wide", np.zeros((10, 3000, 3), np.uint8)), ("tall", np.zeros((90, 10, 3), np.uint8))]
    assert contact_sheet(pictures, columns=2, width=600).shape[1] <= 600
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([])
