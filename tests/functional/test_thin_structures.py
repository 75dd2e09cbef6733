import numpy as np
import pytest
import reference

from cityseg_ext.functional.thin_structures import thin_counts, thin_recall, thin_structures


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 3), (14, 17)])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_they_equal_the_slow_reference(shape, width):
    rng = np.random.default_rng(width)
    coarse = rng.choice([0, 1, 2, 255], (shape[0], -(-shape[1] // 2)), p=[0.5, 0.2, 0.2, 0.1])
    target = coarse.repeat(2, 1)[:, : shape[1]].astype(np.uint8)
    np.testing.assert_array_equal(thin_structures(target, width), reference.thin_structures(target, width))


@pytest.mark.parametrize("thickness", [1, 2, 3, 4, 5])
def test_the_width_is_exact(thickness):
    target = np.zeros((20, 30), np.uint8)
    target[:, 10 : 10 + thickness] = 1
    for width in (1, 2, 3, 4, 5):
        thin = thin_structures(target, width)
        assert (thin == ((target == 1) & (thickness <= width))).all()


def test_void_and_the_edge_may_hide_more_of_a_structure():
    target = np.full((12, 12), 1, np.uint8)
    target[:, :2] = 0  # may go on beyond the edge
    target[:, 6:8], target[:, 8:] = 0, 255  # may go on under void
    assert not (thin_structures(target, 3) & (target == 0)).any()
    assert thin_structures(target, 4)[:, 2:6].all()  # is 4 wide for sure


def test_recall_counts_what_is_found():
    target = np.zeros((10, 12), np.uint8)
    target[:, 5] = 1
    pred = target.copy()
    pred[:4, 5] = 0
    counts = thin_counts(pred, target, 3, width=2)
    assert counts.pixels.tolist() == [0, 10, 0] and counts.found.tolist() == [0, 6, 0]
    np.testing.assert_equal(thin_recall(counts), [np.nan, 0.6, np.nan])


def test_bad_input_is_refused():
    good = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but got \(3, 2\)"):
        thin_counts(good.T, good, 2)
    with pytest.raises(ValueError, match="uint8, but got int64"):
        thin_counts(good.astype(int), good, 2)
