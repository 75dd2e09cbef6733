"""A run that is asked to stop saves first."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, barrier, get_world_size
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from cityseg_ext.hooks.exact_resume import is_accumulating
from cityseg_ext.hooks.safe_checkpoint import SafeCheckpointHook

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # Windows has no SIGUSR1
_ECHO = 2  # seconds within which a launcher may pass on what the process has received already
_WORKER_GRACE = 300  # seconds that a loader's worker works on when it is told to end, as its group is
_AGREE_EVERY = 10  # steps, where processes must ask each other: so that asking costs nothing


@HOOKS.register_module()
class StopSignalsHook(Hook):
    """Save once and leave on SIGINT, SIGTERM, and SIGUSR1, with which SLURM announces the end of a job.

    The step that is being made is finished, then ``latest.pth`` is written, unless this step is saved already. During
    validation nothing needs to be written if the checkpoint from before it is there; otherwise it is finished first.
    Of several processes all leave after the same step, whichever of them was told.

    The exit code is 128 + the number of the signal: 130 (SIGINT, as ``KeyboardInterrupt``), 143 (SIGTERM), 138
    (SIGUSR1). A second signal ends the process at once, with its code; older checkpoints are safe then too. What comes
    within two seconds of the first is taken for the same: launchers pass on signals that their group has got already.

    Raises:
        KeyboardInterrupt, SystemExit: to leave.
    """

    priority = "LOWEST"  # after the checkpoint of this step

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._told = self._asked_at = 0

    def before_train(self, runner) -> None:
        """Listen; only a program's main thread can."""
        self._process = os.getpid()
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None:
                try:
                    self._before[number] = signal.signal(number, self._note)
                except ValueError:
                    runner.logger.warning("Training is not in the main thread: signals end it without saving.")
                    return

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Leave, if somebody has asked for it and no gradients are being accumulated."""
        step = runner.iter + 1
        if not is_accumulating(runner, step) and self._agreed(step):
            self._save(runner, step)
            self._leave(runner)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Leave a validation, if its model is saved."""
        if self._told and any(hook.saved_step == runner.iter for hook in _saving_hooks(runner)):
            self._leave(runner)

    def after_val(self, runner) -> None:
        """Leave after a validation that could not be left."""
        if self._told and get_world_size() == 1:
            self._save(runner, runner.iter)
            self._leave(runner)

    def after_train(self, runner) -> None:
        """Give the signals back."""
        self.release()

    def release(self) -> None:
        """Let signals do again what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:  # a worker, which has inherited this: the run needs it until it leaves
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_WORKER_GRACE)  # but one that hangs must not outlive the run that waits for its end
            return
        if self._told:
            if time.monotonic() - self._since > _ECHO:
                os._exit(128 + number)
            return
        self._told, self._since = number, time.monotonic()
        name = signal.Signals(number).name
        # Logging is not safe in here.
        os.write(2, f"\n{name}: saving after this step. A second signal ends the run at once.\n".encode())

    def _agreed(self, step: int) -> bool:
        if get_world_size() == 1:
            return self._told != 0
        if step - self._asked_at < _AGREE_EVERY:
            return False
        self._asked_at = step
        told = torch.tensor(self._told, device=get_device())
        all_reduce(told, "max")
        self._told = int(told)
        return self._told != 0

    def _save(self, runner, step: int) -> None:
        for hook in _saving_hooks(runner):
            hook.save_here(runner, step)
        barrier()  # a launcher ends all processes as soon as one has left

    def _leave(self, runner) -> None:
        self.release()
        runner.logger.info(f"Stopped by {signal.Signals(self._told).name}. Go on with --resume.")
        raise KeyboardInterrupt if self._told == signal.SIGINT else SystemExit(128 + self._told)


def _saving_hooks(runner) -> list[SafeCheckpointHook]:
    return [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
