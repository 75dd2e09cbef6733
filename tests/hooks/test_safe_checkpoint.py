"""Checkpoints are whole or not there, whatever ends the run that writes them."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from mmengine.fileio import get_file_backend
from toy_runs import SignalAt, in_child, toy_runner

from cityseg_ext.apis.checkpoint import read_checkpoint
from cityseg_ext.apis.resume import newest_checkpoint
from cityseg_ext.hooks import SafeCheckpointHook
from cityseg_ext.hooks.whole_file_backend import BACKEND, WholeFileBackend

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are killed in forked processes")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)


def names(folder):
    return sorted(path.name for path in Path(folder).glob("*.pth"))


def test_the_files_of_a_run(tmp_path):
    toy_runner(tmp_path, values=[3, 1, 2]).train()
    assert names(tmp_path) == ["best_score_epoch_2.pth", "epoch_2.pth", "epoch_3.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_3.pth")
    assert read_checkpoint(str(tmp_path / "epoch_3.pth"))["cityseg_resume"]["validated"]
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_3.pth")


def test_the_latest_is_there_until_a_regular_one_is(tmp_path):
    seen = []

    class Look(SignalAt):
        priority = "LOWEST"

        def after_train_iter(self, runner, **_):
            seen.append((runner.iter + 1, names(tmp_path)))

    toy_runner(tmp_path, hooks=[Look(0, 0)], checkpoint=dict(minutes=0, save_best=None)).train()
    assert seen[0] == (1, ["latest.pth"]) and seen[5] == (6, ["epoch_1.pth", "latest.pth"])
    assert names(tmp_path) == ["epoch_2.pth", "epoch_3.pth"]
    for wrong in (-1, "abc"):  # a word comes from --cfg-options
        with pytest.raises(ValueError, match=f"`minutes` to be at least 0, but got {wrong!r}"):
            SafeCheckpointHook(minutes=wrong)


def test_older_files_are_removed_last(tmp_path, monkeypatch):
    """mmengine removes the oldest and the best first; a full disk then leaves nothing."""
    toy_runner(tmp_path, values=[3, 2], train_cfg=dict(by_epoch=True, max_epochs=2)).train()
    before = names(tmp_path)
    put = WholeFileBackend.put
    for bad in ("epoch_3.pth", "best_score_epoch_3.pth"):

        def full(self, obj, filepath, bad=bad):
            if Path(filepath).name == bad:
                raise OSError("full")
            put(self, obj, filepath)

        monkeypatch.setattr(WholeFileBackend, "put", full)
        with pytest.raises(OSError, match="full"):
            toy_runner(tmp_path, values=[1], resume=True).train()
        assert set(before) - {"epoch_1.pth"} <= set(names(tmp_path)) and newest_checkpoint(str(tmp_path))


@pytest.mark.parametrize("fault", ["full", "read-only", "vanished"])
def test_a_disk_that_cannot_be_written(tmp_path, monkeypatch, fault):
    folder = tmp_path / "work"
    folder.mkdir()
    path = folder / "epoch_1.pth"
    path.write_bytes(b"before")
    backend = get_file_backend(backend_args=dict(backend=BACKEND))
    if fault == "full":
        monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "")))
        reason = "No space left on device"
    elif fault == "read-only":
        monkeypatch.setattr("builtins.open", lambda *_, **__: (_ for _ in ()).throw(OSError(30, "")))
        reason = "Read-only file system"
    else:
        folder.rename(tmp_path / "elsewhere")
        reason = "No such file or directory"
    with pytest.raises(OSError, match=f"epoch_1.pth' to be a file that can be written, but got {reason}. Earlier ch"):
        backend.put(b"after", path)
    monkeypatch.undo()
    kept = tmp_path / "elsewhere" if fault == "vanished" else folder
    assert [file.name for file in kept.iterdir()] == ["epoch_1.pth"]
    assert (kept / "epoch_1.pth").read_bytes() == b"before" and folder.exists() == (fault != "vanished")


def test_a_run_that_goes_on_in_another_folder_leaves_the_first_one_alone(tmp_path):
    """mmengine removes the best checkpoint so far, wherever that is."""
    toy_runner(tmp_path / "a", values=[3, 2], train_cfg=dict(by_epoch=True, max_epochs=2)).train()
    before = names(tmp_path / "a")
    runner = toy_runner(tmp_path / "b", values=[1], load_from=str(tmp_path / "a" / "epoch_2.pth"))
    runner._resume = True
    runner.train()
    assert names(tmp_path / "a") == before and names(tmp_path / "b") == ["best_score_epoch_3.pth", "epoch_3.pth"]


@pytest.mark.parametrize("place", ["elsewhere/mine", "work/mine", "work/../work/log.txt"])
def test_a_checkpoint_cannot_have_other_files_removed(place, tmp_path):
    """mmengine removes what the checkpoint names as the best so far, a folder with all that is in it."""
    toy_runner(tmp_path / "work", values=[3, 2], train_cfg=dict(by_epoch=True, max_epochs=2)).train()
    if place.endswith(".txt"):
        (tmp_path / place).write_text("mine")
    else:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "mine.txt").write_text("mine")
    checkpoint = read_checkpoint(str(tmp_path / "work" / "epoch_2.pth"))
    checkpoint["message_hub"]["runtime_info"]["best_ckpt"] = str(tmp_path / place)
    torch.save(checkpoint, tmp_path / "evil.pth")
    toy_runner(tmp_path / "work", values=[1], load_from=str(tmp_path / "evil.pth"), resume=True).train()
    assert (tmp_path / place).exists() and "best_score_epoch_3.pth" in names(tmp_path / "work")


def test_parts_of_killed_runs_are_removed_after_an_hour(tmp_path):
    old, new = tmp_path / ".12.cityseg-part", tmp_path / ".13.cityseg-part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 3700,) * 2)
    toy_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1)).train()
    assert new.is_file() and not old.exists()


def save_for_ever(folder):
    """Checkpoints of some megabytes, one after the other, with all that the hook does around them."""
    runner = toy_runner(folder, checkpoint=dict(minutes=0), train_cfg=dict(by_epoch=True, max_epochs=10**6))
    runner.model.ballast = torch.nn.Parameter(torch.rand(500_000))
    runner.train()


def test_killed_at_random_moments(tmp_path):
    """By hand, 50 times: see docs/reliability.md."""
    dice = random.Random(0)
    for _ in range(int(os.environ.get("CITYSEG_KILLS", "4"))):
        child = os.fork()
        if child == 0:
            save_for_ever(tmp_path)
        begin = time.time()
        while not names(tmp_path) and time.time() - begin < 60:
            time.sleep(0.05)
        time.sleep(0.3 + 0.5 * dice.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        newest = newest_checkpoint(str(tmp_path))
        assert newest is not None and "optimizer" in read_checkpoint(newest)


def test_damaged_files_are_passed_over(tmp_path, caplog):
    assert newest_checkpoint(str(tmp_path)) is None
    toy_runner(tmp_path).train()
    whole = (tmp_path / "epoch_3.pth").read_bytes()
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_3.pth")
    (tmp_path / "epoch_3.pth").write_bytes(whole[: len(whole) // 2])  # truncated
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_2.pth")
    place = whole.index(b"data/1") + 300
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    (tmp_path / "epoch_3.pth").write_bytes(flipped)  # one bit is another, which PyTorch does not notice
    read_checkpoint(str(tmp_path / "epoch_3.pth"))
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_2.pth")
    (tmp_path / "epoch_2.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"possible from '.*', but got 2 damaged files.*epoch_\d.pth"):
        newest_checkpoint(str(tmp_path))


def test_the_age_is_that_in_the_file(tmp_path):
    """A copy of a work dir has other times."""
    toy_runner(tmp_path).train()
    os.utime(tmp_path / "epoch_2.pth", (time.time() + 9, time.time() + 9))
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_3.pth")


def test_children_end_as_they_should(tmp_path):
    """What the tests of signals rest on."""
    assert in_child(os._exit, 3) == 3 and in_child(os.kill, 0, 0) == 0
