"""NaN and infinity stay where they arise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial, update_wrapper
from typing import Any

import torch
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook, ParamSchedulerHook
from mmseg.registry import HOOKS

from cityseg_ext.checks import check_at_least, expected, shorten


@HOOKS.register_module()
class FiniteGuardHook(Hook):
    """Skip updates whose gradients are not finite, and keep scores that are not from what decides by them.

    * Before each update all gradients are looked at. If one is NaN or infinite, the update is left out, the model's
      buffers (means and variances of BatchNorm) are as before, and the log names the files of the batches.
    * After ``max_in_a_row`` such updates in a row the run stops; its weights are those of the last good update.
    * In float16 the loss scale is lowered as usual; such steps count too, because NaN looks the same.
    * Losses that are not finite are not logged: they would spoil the running mean.
    * A validation score that is not finite does not reach the schedule, the choice of the best checkpoint, or the
      stopping that follow it; the log says so. To mmengine it is a bad epoch, or the end.

    Gradients are looked at after processes have added theirs, so that all decide alike without asking each other.

    Args:
        max_in_a_row: at least 1.

    Raises:
        FloatingPointError: after so many updates in a row.
    """

    priority = "HIGHEST"  # before losses are logged

    def __init__(self, max_in_a_row: int = 10) -> None:
        check_at_least("max_in_a_row", max_in_a_row, 1)
        self.max_in_a_row = max_in_a_row
        self._in_a_row = 0
        self._files: list[str] = []
        self._buffers: dict[str, torch.Tensor] = {}
        self._updated = True

    def before_train(self, runner) -> None:
        """Stand before the optimiser, and before the hooks that follow scores."""
        if hasattr(runner.optim_wrapper, "optimizer"):  # a dict of several has none, and its model steps them itself
            step = runner.optim_wrapper.step
            # As schedulers have wrapped it: they count its calls, and look for the mark of that.
            runner.optim_wrapper.step = update_wrapper(partial(self._step, runner, step), step)
        for hook in runner.hooks:
            if isinstance(hook, (ParamSchedulerHook, CheckpointHook, EarlyStoppingHook)):
                names = list(_monitored(hook, runner))
                hook.after_val_epoch = partial(_if_finite, hook.after_val_epoch, names, type(hook).__name__)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Remember the files, and the buffers before the first batch of an update."""
        if self._updated:
            self._files, self._updated = [], False
            self._buffers = {name: value.clone() for name, value in runner.model.named_buffers()}
        samples = data_batch.get("data_samples") if isinstance(data_batch, Mapping) else None
        if isinstance(samples, (list, tuple)):
            self._files += [str(sample.get("img_path", "?")) for sample in samples]

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Keep what is not finite out of the log."""
        for name, value in list((outputs or {}).items()):
            if not torch.as_tensor(value).detach().isfinite().all():
                del outputs[name]

    def after_train(self, runner) -> None:
        """Say how many updates were skipped."""
        if _skipped(runner):
            runner.logger.warning(f"{_skipped(runner)} updates were skipped, because gradients were not finite.")

    def _step(self, runner, step: Callable[..., None], **kwargs: Any) -> None:
        self._updated = True
        wrapper = runner.optim_wrapper
        if _are_finite(wrapper.optimizer):
            self._in_a_row = 0
            step(**kwargs)
            return
        self._in_a_row += 1
        runner.message_hub.update_info("skipped_updates", _skipped(runner) + 1)
        for name, value in runner.model.named_buffers():
            value.copy_(self._buffers[name])
        scale = ""
        if hasattr(wrapper, "loss_scaler"):
            step(**kwargs)  # leaves the weights alone, and lowers the scale
            scale = f" The loss scale is {wrapper.loss_scaler.get_scale():g} now."
        files = shorten(self._files, 16)
        runner.logger.error(
            f"Step {runner.iter + 1}: gradients are not finite, and the update is skipped ({self._in_a_row} in a row, "
            f"{_skipped(runner)} in all).{scale} Files: {files}"
        )
        if self._in_a_row >= self.max_in_a_row:
            last = runner.message_hub.runtime_info.get("last_ckpt", "none yet")
            cure = (
                f"The weights are as before them. Last checkpoint: {last}. Lower --lr, or look at the files: {files}."
            )
            found = f"NaN or infinity {self._in_a_row} times in a row"
            raise FloatingPointError(expected("gradients", "finite", found, cure))


def _skipped(runner) -> int:
    """How many; mmengine saves it in checkpoints."""
    return runner.message_hub.runtime_info.get("skipped_updates", 0)


def _are_finite(optimizer: torch.optim.Optimizer) -> bool:
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    gradients = [weight.grad for weight in weights if weight.grad is not None and weight.grad.numel() > 0]
    # A sum is NaN or infinite if one of its terms is, and on a CPU many times as fast as a greatest magnitude.
    sums = [gradient.sum(dtype=torch.float32) for gradient in gradients]
    return not sums or bool(torch.stack(sums).isfinite().all())


def _monitored(hook: Hook, runner) -> Iterator[str]:
    """The scores by which a hook decides."""
    if isinstance(hook, EarlyStoppingHook):
        yield hook.monitor
    elif isinstance(hook, CheckpointHook):
        yield from hook.save_best or ()
    else:
        schedulers = runner.param_schedulers
        for group in schedulers.values() if isinstance(schedulers, dict) else [schedulers or []]:
            yield from (scheduler.monitor for scheduler in group if hasattr(scheduler, "monitor"))


def _if_finite(call: Callable[..., None], names: list[str], kind: str, runner, metrics: dict | None = None) -> None:
    scores = {name: (metrics or {}).get(name) for name in names}
    bad = [name for name, score in scores.items() if score is not None and not math.isfinite(score)]
    if bad:
        runner.logger.error(f"{kind} takes no notice of this validation: {', '.join(bad)} is not finite.")
    else:
        call(runner, metrics)
