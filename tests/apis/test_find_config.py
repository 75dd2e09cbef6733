"""Which config a checkpoint has been trained with."""

import pytest
import torch

from cityseg_ext.apis.find_config import find_config


def test_the_one_beside_it(tmp_path):
    folder = tmp_path / "work dir, ü"
    folder.mkdir()
    checkpoint = folder / "best.pth"
    with pytest.raises(FileNotFoundError, match="`checkpoint` to be an existing file"):
        find_config(str(checkpoint))
    torch.save(dict(state_dict=dict(weight=torch.zeros(1))), checkpoint)
    with pytest.raises(ValueError, match="but got none. Name its config too") as caught:
        find_config(str(checkpoint))
    assert str(checkpoint) in str(caught.value)
    (folder / "unet.py").touch()
    assert find_config(str(checkpoint)) == str(folder / "unet.py")
    (folder / "other.py").touch()
    with pytest.raises(ValueError, match="but got other.py, unet.py. Name its config too"):
        find_config(str(checkpoint))


def test_a_published_checkpoint_has_its_own(tmp_path):
    (tmp_path / "unet.py").touch()
    torch.save(dict(meta=dict(format="cityseg_ext.checkpoint"), state_dict={}), tmp_path / "unet-0123abcd.pth")
    assert find_config(str(tmp_path / "unet-0123abcd.pth")) is None


def test_other_objects_are_read_only_if_they_are_trusted(tmp_path):
    (tmp_path / "unet.py").touch()
    torch.save(dict(meta=dict(when=pytest.approx(1)), state_dict={}), tmp_path / "old.pth")
    with pytest.raises(ValueError, match="nothing was loaded.*--trust-checkpoint"):
        find_config(str(tmp_path / "old.pth"))
    assert find_config(str(tmp_path / "old.pth"), trust=True) == str(tmp_path / "unet.py")
