"""Signals: saved once, and a documented exit code."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from toy_runs import SignalAt, in_child, toy_runner

from cityseg_ext.hooks import StopSignalsHook

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are killed in forked processes")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_one_signal(tmp_path, number, code):
    assert in_child(toy_runner(tmp_path, hooks=[SignalAt(3, number)]).train) == code
    assert [path.name for path in tmp_path.glob("*.pth")] == ["latest.pth"]


class Slow(Hook):
    """A step that takes long, in which signals arrive: at once, and after the time of echoes."""

    def __init__(self, *pauses):
        self.pauses = pauses

    def before_train_iter(self, runner, **_):
        if runner.iter == 2:
            for pause in self.pauses:
                time.sleep(pause)
                os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_one_ends_the_run_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("cityseg_ext.hooks.stop_signals._ECHO", 0.3)
    assert in_child(toy_runner(tmp_path / "echo", hooks=[Slow(0, 0.01)]).train) == 143
    assert [path.name for path in (tmp_path / "echo").glob("*.pth")] == ["latest.pth"]
    assert in_child(toy_runner(tmp_path / "second", hooks=[Slow(0, 0.5)]).train) == 143
    assert not list((tmp_path / "second").glob("*.pth"))


def test_a_validation_is_finished_where_its_model_is_not_saved(tmp_path):
    ema = dict(type="EMAHook")  # the model in validation is not the one that is trained
    stop = SignalAt(5, signal.SIGTERM, "after_val_iter")
    runner = toy_runner(tmp_path, hooks=[ema, stop], checkpoint=dict(interval=3, save_best=None))
    with pytest.raises(SystemExit):
        runner.train()
    assert [path.name for path in tmp_path.glob("*.pth")] == ["latest.pth"]
    assert len(list(Path(runner.log_dir).glob("vis_data/*.json"))) and runner.message_hub.get_scalar("val/score")


def test_signals_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    toy_runner(tmp_path / "end").train()
    with pytest.raises(KeyboardInterrupt):
        toy_runner(tmp_path / "stopped", hooks=[SignalAt(2, signal.SIGINT)]).train()
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_workers_go_on_for_a_while(monkeypatch):
    """A launcher tells the whole group to end; a run that waits for a worker's end must not wait for ever."""
    hook = StopSignalsHook()
    hook.before_train(None)

    def work(seconds):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)

    try:
        assert in_child(work, 0.2) == 0
        monkeypatch.setattr("cityseg_ext.hooks.stop_signals._WORKER_GRACE", 1)
        assert in_child(work, 60) == -signal.SIGALRM
    finally:
        hook.release()


def test_training_in_a_thread_goes_on_without(tmp_path):
    runner = toy_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1), log_level="WARNING")
    thread = threading.Thread(target=runner.train)
    thread.start()
    thread.join()
    (log,) = Path(runner.log_dir).glob("*.log")
    assert runner.iter == 5 and "not in the main thread" in log.read_text()
