"""Checkpoints that survive whatever ends a run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmseg.registry import HOOKS

from cityseg_ext.checks import check_at_least
from cityseg_ext.hooks.exact_resume import is_accumulating
from cityseg_ext.hooks.whole_file_backend import BACKEND
from cityseg_ext.whole_file import remove_parts

LATEST = "latest.pth"
"""The checkpoint between two regular ones; each replaces the one before, and a regular one removes it."""

_ABANDONED = 3600  # seconds after which a part is taken for what a killed run has left


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, with files that are whole or not there.

    * Files are written beside, put on to the disk and renamed; older ones are deleted after that, not before.
    * Between two regular checkpoints ``latest.pth`` is written every few minutes, so that no more is lost.
    * A checkpoint from before a validation is written again after it, with what came of it: best score, schedules that
      follow it, patience. mmengine does so only after a new best score.

    Args:
        minutes: how often ``latest.pth`` is written; None: never.
        options: as for ``CheckpointHook``.
    """

    def __init__(self, *args: Any, minutes: float | None = 10, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, backend_args=backend_args, **kwargs)
        if minutes is not None:
            check_at_least("minutes", minutes, 0)
        if backend_args is None and "://" not in str(self.out_dir):
            self.backend_args = dict(backend=BACKEND)
        self.minutes = minutes
        self.saved_step = -1
        self._written: tuple[str, dict] | None = None
        self._inside_validation = False

    def before_train(self, runner) -> None:
        """Start the clock."""
        super().before_train(runner)
        self._clock = time.monotonic()
        if is_main_process() and "://" not in str(self.out_dir):
            remove_parts(self.out_dir, older_than=_ABANDONED)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save at the interval, or if the last time is long ago."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        late = self.minutes is not None and time.monotonic() - self._clock >= 60 * self.minutes
        if late and not is_accumulating(runner, runner.iter + 1):
            self.save_here(runner, runner.iter + 1)

    def after_val_epoch(self, runner, metrics: dict[str, float]) -> None:
        """Save the best; the older best is removed after that."""
        self._inside_validation = True
        with self._removing_at_the_end():
            super().after_val_epoch(runner, metrics)
        self._inside_validation = False

    def after_val(self, runner) -> None:
        """Write the checkpoint of this step again, when all hooks have seen the scores."""
        if self._written is not None and self.saved_step == runner.iter:
            name, meta = self._written
            self._write(runner, name, {key: meta[key] for key in ("epoch", "iter")})

    def save_here(self, runner, step: int) -> None:
        """Save ``latest.pth``, unless this step is saved already.

        Args:
            runner: the runner.
            step: steps done.
        """
        if self.saved_step != step:
            runner.logger.info(f"Saving checkpoint after step {step}")
            self._write(runner, LATEST, dict(epoch=runner.epoch, iter=step))

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        if self._inside_validation:  # after_val does it
            return
        outdated = []
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        self._write(runner, self.filename_tmpl.format(step), meta)
        for name in (*outdated, LATEST):
            self._remove(self.file_backend.join_path(self.out_dir, name))

    def _write(self, runner, name: str, meta: dict) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():  # mmengine's own way to find the latest
            self.file_backend.put_text(self.last_ckpt, os.path.join(runner.work_dir, "last_checkpoint"))
        self.saved_step, self._written, self._clock = meta["iter"], (name, meta), time.monotonic()

    @contextmanager
    def _removing_at_the_end(self) -> Iterator[None]:
        """Let mmengine's code call for removals that are made when it is through, and not if it fails."""
        backend, self.file_backend = self.file_backend, _Postponed(self.file_backend)
        postponed = self.file_backend.paths
        try:
            yield
        finally:
            self.file_backend = backend
        best = {getattr(self, "best_ckpt_path", None), *getattr(self, "best_ckpt_path_dict", {}).values()}
        for path in postponed:
            if path not in best:
                self._remove(path)

    def _remove(self, path: str) -> None:
        if not is_main_process() or not self._is_ours(path):
            return
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # as DeepSpeed saves them
            self.file_backend.rmtree(path)

    def _is_ours(self, path: str) -> bool:
        """Whether a path can be a checkpoint of this run: what is the best so far, a resumed checkpoint may say.

        It may be one of the run that this one goes on from; or any path at all, if the checkpoint is hostile.
        """
        folder, name = os.path.split(path)
        is_here = folder == self.out_dir or os.path.realpath(folder) == os.path.realpath(self.out_dir)
        return is_here and os.path.splitext(name)[1] == os.path.splitext(self.filename_tmpl)[1]


class _Postponed:
    """A file backend that notes what it should remove."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.paths: list[str] = []

    def remove(self, path: str) -> None:
        self.paths.append(path)

    rmtree = remove

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)
