"""Runs of mmengine's Runner with the package's hooks, on a model of some dozens of weights: each is done in no time."""

import faulthandler
import itertools
import os
import random
import signal

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmseg.registry import HOOKS
from torch import nn
from torch.utils.data import Dataset

from cityseg_ext.apis.checkpoint import allow_plain_types
from cityseg_ext.apis.resume import newest_checkpoint
from cityseg_ext.apis.runner import WithManners

NUMBERS = itertools.count()
LIMIT = 240  # seconds that a child may take


class ToyData(Dataset):
    """Ten samples, with random numbers from all three generators; sample ``poisoned`` is NaN."""

    metainfo = dict(classes=("a",))

    def __init__(self, poisoned=()):
        self.poisoned = poisoned

    def __len__(self):
        return 10

    def __getitem__(self, index):
        values = [index / 10, np.random.rand(), random.random(), torch.rand(1).item()]
        if index in self.poisoned:
            values[0] = float("nan")
        return dict(
            inputs=torch.tensor(values), data_samples=BaseDataElement(metainfo=dict(img_path=f"photo {index}.png"))
        )


class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 1))

    def forward(self, inputs, data_samples=None, mode="tensor"):
        result = self.layers(torch.stack(inputs))
        return dict(loss=((result - 1) ** 2).mean()) if mode == "loss" else list(result)


class ToyMetric(BaseMetric):
    """What the weights say; ``values`` are given out in turn instead, where there are some."""

    def __init__(self, values=()):
        super().__init__()
        self.values = list(values)

    def process(self, data_batch, data_samples):
        self.results += [abs(float(sample)) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(score=self.values.pop(0) if self.values else float(np.mean(results)))


@HOOKS.register_module()
class SignalAt(Hook):
    """Send this process a signal in a step, or in the validation after it."""

    priority = "LOW"

    def __init__(self, step, number, where="after_train_iter"):
        self.step, self.number, self.where = step, number, where

    def after_train_iter(self, runner, **_):
        if self.where == "after_train_iter" and runner.iter + 1 == self.step:
            os.kill(os.getpid(), self.number)

    def after_val_iter(self, runner, **_):
        if self.where == "after_val_iter" and runner.iter == self.step:
            os.kill(os.getpid(), self.number)


class ToyRunner(WithManners, Runner):
    pass


def toy_runner(
    work_dir,
    steps=None,
    workers=0,
    hooks=(),
    resume=False,
    checkpoint=(),
    data=None,
    values=(),
    **fields,
):
    """A runner of 3 epochs of 5 batches, or of so many steps; it goes on from the newest checkpoint if told to."""
    allow_plain_types()
    torch.manual_seed(0)  # the model is built before the runner seeds anything
    newest = newest_checkpoint(str(work_dir)) if resume else None
    loader = dict(batch_size=2, num_workers=workers, persistent_workers=workers > 0, dataset=data or ToyData())
    sampler = dict(type="DefaultSampler" if steps is None else "InfiniteSampler", shuffle=True)
    train_cfg = dict(by_epoch=True, max_epochs=3) if steps is None else dict(by_epoch=False, max_iters=steps)
    schedule = dict(type="ReduceOnPlateauLR", monitor="score", rule="less", patience=0, threshold=0.9, by_epoch=True)
    saving = dict(type="SafeCheckpointHook", by_epoch=steps is None, interval=1, max_keep_ckpts=2, save_best="score")
    default = dict(
        timer=dict(type="IterTimerHook"),
        runtime_info=dict(type="RuntimeInfoHook"),
        param_scheduler=dict(type="ParamSchedulerHook"),
        checkpoint=dict(saving, rule="less", **dict(checkpoint)),
        logger=dict(type="LoggerHook", interval=1),
        sampler_seed=dict(type="DistSamplerSeedHook"),
        exact_resume=dict(type="ExactResumeHook"),
        stop_signals=dict(type="StopSignalsHook"),
        finite_guard=dict(type="FiniteGuardHook", max_in_a_row=3),
    )
    options = dict(
        model=ToyModel(),
        train_dataloader=dict(loader, sampler=sampler),
        val_dataloader=dict(dataset=ToyData(), batch_size=5, sampler=dict(type="DefaultSampler", shuffle=False)),
        val_evaluator=Evaluator([ToyMetric(values)]),
        val_cfg=dict(),
        train_cfg=dict(train_cfg, val_interval=1 if steps is None else 5),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=0.05)),
        param_scheduler=[dict(type="LinearLR", start_factor=0.5, by_epoch=False, end=7), schedule],
        default_hooks=default,
        custom_hooks=list(hooks),
        randomness=dict(seed=3),
        default_scope="mmseg",
        log_level="ERROR",
        log_processor=dict(by_epoch=steps is None),
        load_from=newest,
        resume=newest is not None,
    )
    return ToyRunner(work_dir=str(work_dir), cfg=dict(), experiment_name=f"toy_{next(NUMBERS)}", **(options | fields))


def in_child(function, *args, **kwargs):
    """Call a function in a forked process that ends with it; return its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        code = 1
        try:
            function(*args, **kwargs)
            code = 0
        except SystemExit as stop:
            code = stop.code
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
