import numpy as np

from cityseg_ext.functional.nearest_color import nearest_colors
from cityseg_ext.labels import COLORS


def pack(colors):
    return (colors[..., 0] | colors[..., 1] << 8 | colors[..., 2] << 16).astype(np.uint32)


def test_it_is_the_nearest_of_all():
    rng = np.random.default_rng(0)
    palette = np.array(COLORS, np.int64)
    colors = np.concatenate([rng.integers(0, 256, (20_000, 3)), palette, np.clip(palette + 3, 0, 255)])
    expected = ((colors[:, None] - palette) ** 2).sum(-1).argmin(1)  # the first of equals
    np.testing.assert_array_equal(nearest_colors(pack(colors), COLORS), expected)


def test_ties_go_to_the_first():
    middle = np.array([[10, 0, 0]])
    for palette in (((0, 0, 0), (20, 0, 0)), ((20, 0, 0), (0, 0, 0))):
        assert nearest_colors(pack(middle), palette).tolist() == [0]


def test_one_colour_takes_all():
    assert (nearest_colors(np.arange(0, 1 << 24, 9973, dtype=np.uint32), ((5, 5, 5),)) == 0).all()
