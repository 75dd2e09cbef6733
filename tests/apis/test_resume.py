"""Which of the files in a work dir a run goes on from."""

import torch

from cityseg_ext.apis.resume import newest_checkpoint


def test_what_is_no_file_is_passed_over(tmp_path):
    """A link whose file was moved away, one that leads to itself, and a folder, as DeepSpeed saves them."""
    torch.save(dict(state_dict={}, optimizer={}, meta={}), tmp_path / "epoch_1.pth")
    (tmp_path / "moved.pth").symlink_to(tmp_path / "elsewhere.pth")
    (tmp_path / "loop.pth").symlink_to("loop.pth")
    (tmp_path / "folder.pth").mkdir()
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_1.pth")
    (tmp_path / "epoch_1.pth").unlink()
    assert newest_checkpoint(str(tmp_path)) is None
