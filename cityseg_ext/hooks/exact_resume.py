"""A run that was stopped goes on as if it had not been."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from mmseg.registry import HOOKS
from torch import nn

from cityseg_ext.functional.random_streams import seed_stream
from cityseg_ext.hooks.replayed_batches import ReplayedIterator, replayed

RESUME_STATE = "cityseg_resume"
"""Where this hook's state is in a checkpoint."""

_SAMPLES, _EPOCHS, _STEPS, _VALIDATIONS = range(4)  # kinds of streams


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make a resumed run end with the very weights of an uninterrupted one.

    Random numbers are not saved; they are set where they are used. Each sample is augmented by a stream of its own,
    named by (seed, process, epoch, position in the epoch), and each training step draws its dropout from one named by
    (seed, process, step). It does not matter then how many workers load, or which of them, and a run that goes on in
    the middle of an epoch begins there without loading what came before.

    To what mmengine saves (weights, optimiser, loss scale, schedules, averaged weights, best score) come the position
    in the epoch, the patience of ``EarlyStoppingHook``, gradients that are being accumulated, and whether the state was
    validated; a validation that is missing is made up for before the first step.

    Sums on several threads depend on their number: resume with as many as before. With several processes, gradients
    that were being accumulated when a checkpoint was saved are those of the first.
    """

    priority = "LOWEST"  # a missing validation needs the other hooks to be ready

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}
        self._key: tuple[int, ...] = ()
        self._batches = None
        self._epoch = self._first_step = self._validated = -1

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the state out of a checkpoint that is resumed."""
        if not runner._resume:
            return
        self._state = checkpoint.get(RESUME_STATE, {})
        if not self._state:
            runner.logger.warning("The checkpoint was saved without ExactResumeHook: an epoch begins from its start.")

    def before_train(self, runner) -> None:
        """Number all draws, restore the rest, and validate if the checkpoint is from before its validation."""
        loop = runner.train_loop
        self._key = (runner.seed, get_rank())
        loader = replayed(loop.dataloader, (*self._key, _SAMPLES))
        if loader is None:
            kind = type(loop.dataloader.dataset).__name__
            runner.logger.warning(f"{kind} has no positions: its order and augmentation cannot be resumed exactly.")
        else:
            loop.dataloader, self._batches = loader, loader.batch_sampler
            if isinstance(loop, IterBasedTrainLoop):
                loop.dataloader_iterator = ReplayedIterator(loader, loop.iter)
                loop.fast_forward_on_resume = False  # passing over costs nothing
        self._restore(runner)
        if self._state and not self._state["validated"] and _is_due(runner, self._state["batch"]):
            runner.logger.info("The checkpoint was saved before its validation, which is made now.")
            runner.val_loop.run()

    def before_train_epoch(self, runner) -> None:
        """Begin an epoch, or go on in one."""
        by_step = isinstance(runner.train_loop, IterBasedTrainLoop)  # it is one epoch, and passes over batches itself
        start = 0 if by_step else self._state.get("batch", 0)
        length = self._state.get("length")
        if start and length != len(runner.train_dataloader):
            runner.logger.warning(
                f"An epoch had {length} batches and has {len(runner.train_dataloader)} now: it begins from its start."
            )
            start = 0
        self._state = {}
        self._epoch, self._first_step = None if by_step else runner.epoch, runner.iter - start
        if self._batches is not None and not by_step:
            self._batches.begin(runner.epoch, start)
            if start:  # the loop counts from 0
                runner.train_loop.run_iter = partial(_run_iter_from, runner.train_loop, start)
        # For samplers that draw from the global generator: alike in all processes.
        seed_stream(self._key[0], 0, _EPOCHS, runner.epoch)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Begin the step's stream."""
        seed_stream(*self._key, _STEPS, runner.iter)

    def after_train_epoch(self, runner) -> None:
        """The next epoch is counted by the loop."""
        vars(runner.train_loop).pop("run_iter", None)

    def before_val_epoch(self, runner) -> None:
        """A validation that is made up for is that which was missed."""
        if self._key:  # there is one in training only
            seed_stream(*self._key, _VALIDATIONS, runner.iter)

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Remember which weights were validated."""
        self._validated = runner.iter

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add what mmengine leaves out, to checkpoints that can be resumed."""
        if "optimizer" not in checkpoint:
            return
        meta = checkpoint["meta"]
        checkpoint[RESUME_STATE] = dict(
            time=time.time(),
            batch=meta["iter"] - self._first_step if meta["epoch"] == self._epoch else 0,
            length=len(runner.train_dataloader),
            validated=self._validated == meta["iter"],
            stopping=[(hook.wait_count, float(hook.best_score)) for hook in _stopping_hooks(runner)],
            gradients=_pending_gradients(runner),
        )

    def _restore(self, runner) -> None:
        for hook, (waited, best) in zip(_stopping_hooks(runner), self._state.get("stopping", ()), strict=False):
            hook.wait_count, hook.best_score = waited, best
            if waited >= hook.patience:
                runner.train_loop.stop_training = True
        gradients = self._state.get("gradients", {})
        parameters = dict(_bare(runner.model).named_parameters())
        for name, gradient in gradients.items():
            parameters[name].grad = gradient.to(parameters[name])
        if gradients:
            runner.logger.info("The gradients that were being accumulated are restored from the checkpoint.")


def is_accumulating(runner, step: int) -> bool:
    """Whether gradients of earlier batches wait for their update after a step of this number, counted from 1."""
    return step % getattr(runner.optim_wrapper, "_accumulative_counts", 1) != 0 and step < runner.max_iters


def _run_iter_from(loop, start: int, idx: int, data_batch: Any) -> None:
    type(loop).run_iter(loop, start + idx, data_batch)


def _is_due(runner, batch: int) -> bool:
    """Whether the loop validates where it is now, as it decides that itself after a step or an epoch.

    Args:
        runner: the runner.
        batch: batches of the current epoch that are done.
    """
    loop = runner.train_loop
    if runner.val_loop is None:
        return False
    loop._decide_current_val_interval()
    by_step = isinstance(loop, IterBasedTrainLoop)
    if batch and not by_step:
        return False
    done, end = (loop.iter, loop.max_iters) if by_step else (loop.epoch, loop.max_epochs)
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)


def _pending_gradients(runner) -> dict[str, torch.Tensor]:
    steps = runner.optim_wrapper.inner_count if hasattr(runner.optim_wrapper, "inner_count") else 0
    if not is_accumulating(runner, steps):
        return {}
    named = _bare(runner.model).named_parameters()
    return {name: weight.grad.cpu() for name, weight in named if weight.grad is not None}


def _stopping_hooks(runner) -> list[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
