import numpy as np

from cityseg_ext.functional.boundary import border_band, border_distance


def slow_distance(indices):
    rows, columns = np.indices(indices.shape)
    distance = np.full(indices.shape, np.inf)
    for y, x in np.ndindex(indices.shape):
        other = indices != indices[y, x]
        if other.any():
            distance[y, x] = np.hypot(rows[other] - y, columns[other] - x).min()
    return distance


def test_distances_are_those_of_the_definition():
    indices = np.random.default_rng(0).choice([0, 3, 255], (9, 17), p=[0.9, 0.06, 0.04]).astype(np.uint8)
    np.testing.assert_allclose(border_distance(indices), slow_distance(indices), rtol=1e-5)


def test_one_class_has_no_border():
    assert np.isinf(border_distance(np.zeros((4, 5), np.uint8))).all()
    assert not border_band(np.zeros((4, 5), np.uint8)).any()
