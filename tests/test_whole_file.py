import os
import time

import pytest
from toy_runs import toy_runner

from cityseg_ext.whole_file import PART_NAME, check_writable, part_name, remove_parts, replacing, write_whole


def test_two_that_write_one_file_do_not_meet(tmp_path):
    """Not even with one number of process and thread, as containers that share a folder often have."""
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, b"before")
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]


def test_parts_of_killed_runs_are_removed_at_any_depth(tmp_path):
    old, new, other = (tmp_path / "deep" / name for name in (part_name(), part_name(), ".x.cityseg-part"))
    old.parent.mkdir()
    for path in (old, new, other):
        path.write_text("half")
    os.utime(old, (time.time() - 100,) * 2)
    remove_parts(tmp_path, older_than=50)
    assert sorted(old.parent.iterdir()) == sorted([new, other])
    remove_parts(tmp_path)
    assert list(old.parent.iterdir()) == [other]
    assert PART_NAME.fullmatch(".123-4.cityseg-part")  # as earlier versions wrote them


def test_training_goes_on_where_an_export_was_killed(tmp_path):
    """The folder in which it was writing lies beside the checkpoints."""
    left = tmp_path / ".ab12cd34.cityseg-part"
    left.mkdir()
    os.utime(left, (time.time() - 10_000,) * 2)
    toy_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1)).train()
    assert (tmp_path / "epoch_1.pth").is_file()


def test_a_folder_that_cannot_be_written_is_named_with_the_cure(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OSError, match=r"`out` to be a folder that can be written, but got '.*'\. Not a directory\. Move\."
    ):
        check_writable("out", tmp_path / "file" / "inside", "Move.")
