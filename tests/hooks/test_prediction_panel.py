from types import SimpleNamespace

import pytest

from cityseg_ext.hooks.prediction_panel import relative_name


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        (dict(data_root="data", data_prefix=dict(img_path="data/photos")), "ulm/1.png"),
        (dict(data_root="data", data_prefix={}), "photos/ulm/1.png"),  # photographs of one name would be one
        (dict(data_root="elsewhere", data_prefix={}), "1.png"),
        ({}, "1.png"),
    ],
)
def test_names_tell_photographs_apart(dataset, name):
    assert relative_name("data/photos/ulm/1.png", SimpleNamespace(**dataset)) == name
