import subprocess
import sys

import pytest
from conftest import ROOT
from mmengine.config import Config

from cityseg_ext.shipped import configs_folder, copy_configs


def test_copies_can_be_inherited_from_anywhere(tmp_path):
    """What docs/extending.md says: 15 lines in a project of one's own, which knows nothing but `custom_imports`."""
    paths = copy_configs(str(tmp_path / "cityseg"))
    assert {path.name for path in paths} == {path.name for path in (ROOT / "configs").glob("*.py")}
    mine = tmp_path / "mine.py"
    mine.write_text("_base_ = './cityseg/deeplabv3_focaldice.py'\ntrain_dataloader = dict(batch_size=3)\n")
    cfg = Config.fromfile(mine)
    assert cfg.train_dataloader.batch_size == 3 and cfg.model.decode_head.loss_decode.type == "FocalDiceLoss"
    with pytest.raises(FileExistsError, match="to be new or empty, but got"):
        copy_configs(str(tmp_path / "cityseg"))
    with pytest.raises(FileExistsError):
        copy_configs(str(mine))


def test_the_command_lists_and_copies(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "cityseg_ext", "configs", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert str(configs_folder() / "unet_ce.py") in run().stdout.splitlines()
    copied = run("--copy-to", str(tmp_path / "a b"))
    assert copied.returncode == 0 and copied.stdout.splitlines()[-1].endswith(f"to {tmp_path / 'a b'}")
    again = run("--copy-to", str(tmp_path / "a b"))
    assert again.returncode == 1 and again.stderr.startswith("error: Expected the folder")
