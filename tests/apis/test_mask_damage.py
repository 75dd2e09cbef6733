import io

import numpy as np
import pytest
from PIL import Image

from cityseg_ext.apis.mask_damage import FILTERS, SUBSAMPLINGS, damage_mask, encode_jpeg, resize_with

STEP = np.zeros((16, 32, 3), np.uint8)
STEP[:, 13:] = (244, 35, 232)


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_resizes_and_only_nearest_keeps_colours(name):
    small = resize_with(STEP, 8, 16, name)
    assert small.shape == (8, 16, 3) and small.dtype == np.uint8
    colors = {tuple(color) for color in small.reshape(-1, 3).tolist()}
    assert (colors == {(0, 0, 0), (244, 35, 232)}) == (name == "nearest")


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_the_jpeg_is_what_it_claims(subsampling):
    data = encode_jpeg(STEP, 90, subsampling)
    image = Image.open(io.BytesIO(data))
    across, down = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2)}[subsampling]
    assert [layer[1:3] for layer in image.layer] == [(across, down), (1, 1), (1, 1)]
    # Another program reads the same picture from it, but for rounding.
    damaged = damage_mask(STEP, 16, 32, "area", 90, subsampling)
    assert np.abs(np.asarray(image).astype(int) - damaged).max() <= 2


def test_nothing_to_do_changes_nothing():
    np.testing.assert_array_equal(damage_mask(STEP, 16, 32, "lanczos", None), STEP)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(resize="cubick"), "`resize` to be one of.*Did you mean 'cubic'"),
        (dict(quality=0), "`quality` to be from 1 to 100"),
        (dict(subsampling="4:1:1"), "`subsampling` to be one of"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        damage_mask(STEP, **(dict(height=16, width=32, resize="area", quality=90) | options))
