"""NaN and infinity: the weights, the log and what follows scores stay clean."""

import json
import math
from pathlib import Path

import pytest
import torch
from toy_runs import ToyData, toy_runner

from cityseg_ext.hooks import FiniteGuardHook


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)


def loader(poisoned, shuffle=False):
    sampler = dict(type="DefaultSampler", shuffle=shuffle)
    return dict(dataset=ToyData(poisoned), batch_size=2, num_workers=0, sampler=sampler)


def log_of(runner):
    (log,) = Path(runner.log_dir).glob("*.log")
    return log.read_text()


def test_a_batch_with_nan_is_skipped_and_named(tmp_path):
    runner = toy_runner(tmp_path, train_dataloader=loader([3]), log_level="WARNING")
    runner.train()
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())  # BatchNorm's means too
    text = log_of(runner)
    assert (
        "Step 2: gradients are not finite, and the update is skipped (1 in a row, 1 in all). Files: photo 2.png" in text
    )
    assert "photo 3.png" in text and "Step 12" in text and "3 updates were skipped" in text
    scalars = Path(runner.log_dir, "vis_data", "scalars.json").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, scalars) if "loss" in line]
    assert len(losses) == 15 and all(map(math.isfinite, losses))


def test_a_skipped_update_changes_nothing(tmp_path):
    """The same weights as without these batches, but for the learning rate, which goes on."""
    runner = toy_runner(tmp_path, train_dataloader=loader([1]), train_cfg=dict(by_epoch=True, max_epochs=1))
    weights = {}
    runner.register_hook(FiniteGuardHook(), priority="VERY_LOW")  # a second one does no harm
    for step, name in ((0, "before"), (1, "after")):

        def keep(runner, step=step, name=name, **_):
            if runner.iter == step:
                weights[name] = {key: value.clone() for key, value in runner.model.state_dict().items()}

        hook = FiniteGuardHook()
        hook.before_train = lambda _: None
        hook.before_train_iter, hook.after_train_iter = keep, lambda *_, **__: None
        runner.register_hook(hook, priority="LOWEST")
    runner.train()
    for key, value in weights["before"].items():
        assert torch.equal(value, weights["after"][key]), key


def test_too_many_in_a_row_end_the_run(tmp_path):
    runner = toy_runner(tmp_path, train_dataloader=loader(range(4, 10)), log_level="ERROR")
    message = (
        r"`gradients` to be finite, but got NaN or infinity 3 times in a row\..*Last checkpoint: none yet.*photo 9"
    )
    with pytest.raises(FloatingPointError, match=message):
        runner.train()
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    with pytest.raises(ValueError, match="`max_in_a_row` to be at least 1, but got 0"):
        FiniteGuardHook(0)


def test_accumulated_gradients_are_dropped_together(tmp_path):
    wrapper = dict(type="OptimWrapper", accumulative_counts=2, optimizer=dict(type="Adam", lr=0.05))
    runner = toy_runner(tmp_path, train_dataloader=loader([0]), optim_wrapper=wrapper, log_level="ERROR")
    runner.train()
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    assert "Files: photo 0.png, photo 1.png, photo 2.png, photo 3.png" in log_of(runner)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_decide_nothing(tmp_path, bad):
    stopping = dict(type="EarlyStoppingHook", monitor="score", rule="less", patience=1, check_finite=False)
    epochs = dict(train_cfg=dict(by_epoch=True, max_epochs=4))
    runner = toy_runner(tmp_path, values=[5, bad, 4, 3], hooks=[stopping], log_level="ERROR", **epochs)
    runner.train()
    assert runner.epoch == 4  # neither a bad epoch nor the end
    plateau = runner.param_schedulers[1]
    assert plateau.best == 5 and plateau.last_step == 1  # of the first and third; mmengine leaves out the very last
    assert runner.message_hub.get_info("best_score") == 3
    text = log_of(runner)
    for name in ("ParamSchedulerHook", "SafeCheckpointHook", "EarlyStoppingHook"):
        assert f"{name} takes no notice of this validation: score is not finite." in text
