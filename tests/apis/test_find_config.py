"""Which config a checkpoint has been trained with."""

import pytest

from cityseg_ext.apis.find_config import find_config


def test_the_one_beside_it(tmp_path):
    folder = tmp_path / "work dir, ü"
    folder.mkdir()
    checkpoint = folder / "best.pth"
    with pytest.raises(FileNotFoundError, match="`checkpoint` to be an existing file"):
        find_config(str(checkpoint))
    checkpoint.touch()
    with pytest.raises(ValueError, match="but got none. Name the config with --config") as caught:
        find_config(str(checkpoint))
    assert str(checkpoint) in str(caught.value)
    (folder / "unet.py").touch()
    assert find_config(str(checkpoint)) == str(folder / "unet.py")
    (folder / "other.py").touch()
    with pytest.raises(ValueError, match="but got other.py, unet.py. Name the config with --config"):
        find_config(str(checkpoint))
