"""Trackers in a run that trains: what they hold afterwards, and that no failure of theirs ends the training."""

import json
import os
import struct

import cv2
import numpy as np
import pytest
from conftest import ROOT, TINY
from mmseg.registry import VISBACKENDS

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.runs import train
from cityseg_ext.apis.tracking import set_tensorboard, set_wandb

EPOCHS = 3
STEPS = [2, 4, 6]  # training steps that are done at the end of each epoch: 4 scenes in batches of 2
NAMES = ["val/loss", "val/focal", "val/dice", "mDice", "mIoU", "aAcc", "Dice/road", "IoU/road"]
TRAINING_NAMES = ["lr", "loss", "decode.focal", "decode.dice"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    """No account, no server, nothing of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def config(tiny_city, tmp_path, monkeypatch):

    monkeypatch.chdir(ROOT)

    def make(*trackers, epochs=1):
        cfg = load_config(
            "configs/deeplabv3_r18_focaldice.py",
            data_root=str(tiny_city),
            work_dir=str(tmp_path / "work"),
            image_size=(64, 128),
            batch_size=2,
            num_epochs=epochs,
            num_workers=0,
            cfg_options=TINY,
        )
        for tracker in trackers:
            tracker(cfg)
        return cfg

    return make


@pytest.fixture
def wandb():
    module = pytest.importorskip("wandb", reason="wandb is not installed: the extra `wandb`")
    yield module
    module.teardown()  # its service is a process of its own


@pytest.fixture
def tensorboard():
    return pytest.importorskip("torch.utils.tensorboard", reason="TensorBoard is not installed: the extra")


def log_of(result):
    (log,) = result.work_dir.glob("*/*.log")
    return log.read_text()


def local_values(result, name):
    """Step -> value, as the run's own file has it."""
    lines = map(json.loads, result.scalars.read_text().splitlines())
    return {line["step"]: line[name] for line in lines if name in line}


def wandb_records(path):
    """Records of a run file: blocks of 32 KiB as LevelDB's logs have them, after 7 bytes of W&B's own."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_tensorboard_holds_what_the_local_log_holds(config, tensorboard):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(config(set_tensorboard, epochs=EPOCHS))
    events = EventAccumulator(str(result.scalars.parent), size_guidance={"images": 0}).Reload()
    for name in NAMES + TRAINING_NAMES:
        found = {event.step: event.value for event in events.Scalars(name)}
        assert found == pytest.approx(local_values(result, name), rel=1e-6)
        assert list(found) == (STEPS if name in NAMES else [1, 2, 3, 4, 5, 6])
    for number in (1, 2, 3):
        images = events.Images(f"validation_panel_{number}")
        assert [image.step for image in images] == STEPS
        panel = cv2.imdecode(np.frombuffer(images[0].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        assert panel.shape[1] == 4 * 128 + 3 * 6


def test_wandb_holds_every_validation_at_its_iteration(config, wandb, tmp_path):
    result = train(config(lambda cfg: set_wandb(cfg, "offline", project="a project"), epochs=EPOCHS))
    (path,) = result.scalars.parent.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(path))
    history, axes = [], {}
    for record in records:
        if record.HasField("history"):
            row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            history.append(row)
        if record.HasField("metric"):
            axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
    for name in NAMES + TRAINING_NAMES:
        found = {row["iter"]: row[name] for row in history if name in row}
        assert found == pytest.approx(local_values(result, name), rel=1e-6)
        assert axes.get(name, axes["*"]) == "iter"
    for number in (1, 2, 3):
        panels = [row for row in history if any(name.startswith(f"validation_panel_{number}") for name in row)]
        assert [row["iter"] for row in panels] == STEPS
    assert len(list(path.parent.glob("files/media/images/*.png"))) == 9
    run = next(record.run for record in records if record.HasField("run"))
    assert (run.project, run.display_name) == ("a project", "work")
    assert not any((tmp_path / "home").rglob("*wandb*"))
    assert "Weights & Biases, offline" in log_of(result)


@pytest.mark.parametrize("attempt", range(3))
def test_a_run_is_whole_on_disk_when_it_is_closed(wandb, tmp_path, attempt):
    """A process of several ranks leaves at once after training, and would take unwritten values with it."""
    backend = VISBACKENDS.build(dict(type="TolerantWandbVisBackend", save_dir=str(tmp_path)))
    for step in range(20):
        backend.add_scalars({"loss": 1.0}, step=step)
    backend.close()
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert sum(record.HasField("history") for record in wandb_records(path)) == 20


@pytest.mark.parametrize("where", ["_init_env", "add_scalars", "close"])
@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_training_goes_on_when_a_tracker_fails(config, request, monkeypatch, name, where):
    request.getfixturevalue(name)
    switch_on = dict(wandb=set_wandb, tensorboard=set_tensorboard)[name]
    kind = "TolerantWandbVisBackend" if name == "wandb" else "TolerantTensorboardVisBackend"
    inner = VISBACKENDS.get(kind).__mro__[2]  # behind the tolerance
    calls = []

    def fail(*_, **__):
        calls.append(where)
        raise OSError("no space left on the disk of the moon")

    fail.__name__ = where
    monkeypatch.setattr(inner, where, fail)
    result = train(config(switch_on, epochs=2))
    assert result.checkpoint.is_file() and len(local_values(result, "mDice")) == 2
    warnings = [line for line in log_of(result).splitlines() if "is switched off" in line]
    assert len(warnings) == len(calls) == 1
    assert kind in warnings[0] and "OSError: no space left on the disk of the moon" in warnings[0]


def test_a_failure_in_the_middle_keeps_what_was_logged(config, tensorboard, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    original = tensorboard.SummaryWriter.add_scalar

    def fail_later(self, name, value, step):
        if step > 3:
            raise OSError("disk full")
        original(self, name, value, step)

    monkeypatch.setattr(tensorboard.SummaryWriter, "add_scalar", fail_later)
    result = train(config(set_tensorboard, epochs=2))
    assert log_of(result).count("is switched off; training goes on. The cause: OSError: disk full") == 1
    events = EventAccumulator(str(result.scalars.parent)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]


def test_a_service_that_dies_is_told_once(config, wandb, monkeypatch):
    from wandb.sdk.wandb_run import Run

    def lost(*_, **__):
        raise ConnectionResetError("Connection lost")

    finish = Run.finish
    monkeypatch.setattr(Run, "log", lost)
    monkeypatch.setattr(Run, "finish", lambda run: finish(run) or lost())
    result = train(config(set_wandb))
    assert log_of(result).count("Connection lost") == 1 and result.checkpoint.is_file()


def test_online_without_a_login_asks_nobody(config, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("it would ask at a terminal"))
    result = train(config(set_wandb))
    assert "switched off; training goes on. The cause: RuntimeError: No login. Run `wandb login`" in log_of(result)
    assert result.checkpoint.is_file()


def test_a_server_that_cannot_be_reached(config, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)

    def quick(cfg):
        set_wandb(cfg)
        cfg.visualizer.vis_backends[-1].init_kwargs.settings = dict(init_timeout=1)

    result = train(config(quick))
    assert "is switched off; training goes on. The cause: CommError" in log_of(result)
    assert result.checkpoint.is_file()


@pytest.mark.parametrize("switch_on", [set_wandb, set_tensorboard])
def test_a_package_that_is_missing_is_told_before_the_first_step(config, monkeypatch, switch_on):
    extra = switch_on.__name__.removeprefix("set_")
    missing = {"wandb": "wandb", "tensorboard": "torch.utils.tensorboard"}[extra]
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    monkeypatch.setattr("mmengine.runner.loops.EpochBasedTrainLoop.run_iter", lambda *_: pytest.fail("a step was made"))
    with pytest.raises(ValueError, match=rf"vis_backends` to be .*{extra}.*pip install 'cityseg_ext\[{extra}\]'"):
        train(config(switch_on))
