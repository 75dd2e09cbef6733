"""Stopped anywhere and resumed, a run ends with the weights of one that was not: bit for bit, in one CPU thread."""

import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import EarlyStoppingHook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from toy_runs import SignalAt, ToyData, in_child, toy_runner

EVERYTHING = dict(
    optim_wrapper=dict(
        type="BFloat16OptimWrapper",
        accumulative_counts=2,
        optimizer=dict(type="Adam", lr=0.05),
        clip_grad=dict(max_norm=1.0),
    ),
)
"""Averaged weights and patience come with it as hooks; an epoch of 5 batches ends inside a pair of them."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are killed in forked processes")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    torch.set_num_threads(1)


def hooks(*more):
    stopping = dict(type="EarlyStoppingHook", monitor="score", rule="less", patience=9, min_delta=0.5)
    return [dict(type="EMAHook", momentum=0.2), stopping, *more]


def train(folder, **options):
    toy_runner(folder, **options).train()


class ScaledOptimWrapper(AmpOptimWrapper):
    """mmengine's wrapper for float16, whose scaler works on a CPU as well; its constructor asks for a GPU."""

    def __init__(self, optimizer):
        OptimWrapper.__init__(self, optimizer)
        self.loss_scaler, self._scale_update_param = torch.amp.GradScaler("cpu", growth_interval=3), None

    optim_context = OptimWrapper.optim_context


def last(folder, name="epoch_3.pth"):
    return torch.load(Path(folder, name), weights_only=False)  # our own file, with mmengine's message hub in it


def assert_equal(one, other, path=""):
    """Whole checkpoints, but for times and paths."""
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_equal(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{path}[{index}]")
    else:
        assert one == other, path


def assert_same_run(one, other):
    for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        if key in one:
            assert_equal(one[key], other[key], key)
    skipped = ("time",)
    states = [{k: v for k, v in run["cityseg_resume"].items() if k not in skipped} for run in (one, other)]
    assert_equal(*states, "cityseg_resume")
    assert one["message_hub"]["runtime_info"].get("best_score") == other["message_hub"]["runtime_info"].get(
        "best_score"
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(folder, hooks=hooks(), **EVERYTHING)
    return last(folder)


def test_the_number_of_workers_changes_nothing(uninterrupted, tmp_path):
    assert in_child(train, tmp_path, workers=2, hooks=hooks(), **EVERYTHING) == 0
    assert_same_run(uninterrupted, last(tmp_path))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("step", "where"),
    [
        (5, "after_train_iter"),  # the end of an epoch; a gradient is being accumulated
        (8, "after_train_iter"),  # the middle of one
        (7, "after_train_iter"),  # the middle of one, and a gradient is being accumulated
        (10, "after_val_iter"),  # a validation
        (15, "after_train_iter"),  # the last step
    ],
)
def test_stopped_by_sigterm(uninterrupted, tmp_path, workers, step, where):
    stop = SignalAt(step, signal.SIGTERM, where)
    assert in_child(train, tmp_path, workers=workers, hooks=hooks(stop), **EVERYTHING) == 128 + signal.SIGTERM
    assert in_child(train, tmp_path, workers=workers, hooks=hooks(), resume=True, **EVERYTHING) == 0
    assert_same_run(uninterrupted, last(tmp_path))


@pytest.mark.parametrize(
    ("workers", "step", "where", "minutes"),
    [
        (0, 8, "after_train_iter", 0),  # the last step but one is saved
        (2, 8, "after_train_iter", 0),
        (2, 8, "after_train_iter", None),  # the last epoch is
        (0, 10, "after_val_iter", None),  # before the validation
    ],
)
def test_killed(uninterrupted, tmp_path, workers, step, where, minutes):
    options = dict(workers=workers, checkpoint=dict(minutes=minutes), **EVERYTHING)
    assert in_child(train, tmp_path, hooks=hooks(SignalAt(step, signal.SIGKILL, where)), **options) == -signal.SIGKILL
    assert in_child(train, tmp_path, hooks=hooks(), resume=True, **options) == 0
    assert_same_run(uninterrupted, last(tmp_path))


def test_the_loss_scale_goes_on(tmp_path):
    """It is halved by the poisoned batch of each epoch, and doubled after three good ones."""
    loader = dict(dataset=ToyData([2]), batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=True))

    def run(folder, **options):
        runner = toy_runner(folder, train_dataloader=loader, log_level="CRITICAL", **options)
        wrapper = ScaledOptimWrapper(torch.optim.Adam(runner.model.parameters(), lr=0.05))
        runner.optim_wrapper = wrapper
        runner.train()

    run(tmp_path / "whole")
    with pytest.raises(SystemExit):
        run(tmp_path / "parts", hooks=[SignalAt(8, signal.SIGTERM)])
    run(tmp_path / "parts", resume=True)
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert_same_run(whole, parts)
    assert whole["optimizer"]["loss_scaler"] == parts["optimizer"]["loss_scaler"]
    assert whole["message_hub"]["runtime_info"]["skipped_updates"] == 3
    assert all(value.isfinite().all() for value in whole["state_dict"].values())


@pytest.mark.parametrize("sampler", ["InfiniteSampler", "DefaultSampler"])
def test_a_run_counted_in_steps(tmp_path, monkeypatch, sampler):
    monkeypatch.setattr("time.sleep", lambda _: None)
    loader = dict(dataset=ToyData(), batch_size=2, num_workers=0, sampler=dict(type=sampler, shuffle=True))
    checkpoint = dict(interval=100, minutes=None)
    options = dict(steps=13, train_dataloader=loader, checkpoint=checkpoint)
    train(tmp_path / "whole", **options)
    for step, where in ((3, "after_train_iter"), (10, "after_val_iter")):
        with pytest.raises(SystemExit):
            train(tmp_path / "parts", resume=True, hooks=[SignalAt(step, signal.SIGTERM, where)], **options)
    train(tmp_path / "parts", resume=True, **options)
    assert_same_run(last(tmp_path / "whole", "iter_13.pth"), last(tmp_path / "parts", "iter_13.pth"))


def test_without_the_hook_it_is_another_run(uninterrupted, tmp_path):
    """So that the tests above cannot pass by themselves."""
    plain = dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)), hooks=hooks())
    train(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1), **plain, **EVERYTHING)
    train(tmp_path, resume=True, **plain, **EVERYTHING)
    assert not torch.equal(*(run["state_dict"]["layers.0.weight"] for run in (uninterrupted, last(tmp_path))))


def test_a_run_that_has_lost_patience_does_not_go_on(tmp_path):
    stopping = [dict(type="EarlyStoppingHook", monitor="score", rule="less", patience=1, min_delta=1e9)]
    train(tmp_path, hooks=stopping)
    before = last(tmp_path, "epoch_2.pth")
    runner = toy_runner(tmp_path, hooks=stopping, resume=True)
    runner.train()
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook))
    assert runner.iter == 10 and hook.wait_count == 1 and before["cityseg_resume"]["stopping"][0][0] == 1
    stopping[0]["patience"] = 9
    train(tmp_path, hooks=stopping, resume=True)
    assert last(tmp_path)["meta"]["iter"] == 15


def test_steps_are_numbered_as_in_an_uninterrupted_run(tmp_path):
    """Log lines of a resumed epoch go on from its middle."""
    with pytest.raises(SystemExit):
        train(tmp_path, hooks=[SignalAt(8, signal.SIGTERM)])
    seen = []

    class Watch(SignalAt):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.epoch, batch_idx, runner.iter))

    train(tmp_path, resume=True, hooks=[Watch(0, 0)])
    assert seen[:3] == [(1, 3, 8), (1, 4, 9), (2, 0, 10)]


def test_another_length_of_an_epoch_begins_it_again(tmp_path, caplog):
    with pytest.raises(SystemExit):
        train(tmp_path, hooks=[SignalAt(8, signal.SIGTERM)])
    loader = dict(dataset=ToyData(), batch_size=5, sampler=dict(type="DefaultSampler", shuffle=True))
    runner = toy_runner(tmp_path, resume=True, train_dataloader=loader, log_level="WARNING")
    runner.train()
    (log,) = Path(runner.log_dir).glob("*.log")
    assert "An epoch had 5 batches and has 2 now: it begins from its start." in log.read_text()
    assert runner.iter == 8 + 4
