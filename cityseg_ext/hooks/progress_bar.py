"""A progress bar for the person at the keyboard."""

from __future__ import annotations

import atexit
import logging

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show iterations done, time used and time left in a terminal; do nothing where output is not a terminal.

    Log lines pass above the bar; log files and pipes get the plain lines only.

    Args:
        console: where to draw; the terminal on standard error by default.
    """

    priority = "VERY_LOW"

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._task = None
        self._streams: list[tuple[logging.StreamHandler, object]] = []

    def before_train(self, runner) -> None:
        self._start(runner, "train", runner.max_iters, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._progress is None:  # asking a GPU for the loss would wait for it, for nothing
            return
        loss = (outputs or {}).get("loss")
        self._advance(
            f"train epoch {runner.epoch + 1}/{runner.max_epochs}" + (f" loss {loss:.3f}" if loss is not None else "")
        )

    def after_train(self, runner) -> None:
        self.release()

    def before_test(self, runner) -> None:
        self._start(runner, "test", len(runner.test_dataloader), 0)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._advance("test")

    def after_test(self, runner) -> None:
        self.release()

    def before_val(self, runner) -> None:
        self._describe("validate")

    def release(self) -> None:
        """Give terminal and log lines back, after a run or a failure; nothing is done a second time."""
        if self._progress is None:
            return
        self._progress.stop()
        self._progress = None
        atexit.unregister(self.release)
        for handler, stream in self._streams:
            handler.setStream(stream)
        self._streams.clear()

    def _start(self, runner, what: str, total: int, done: int) -> None:
        if not (self.console.is_terminal and is_main_process()):
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._progress.add_task(what, total=total, completed=done)
        self._progress.start()
        atexit.register(self.release)  # a run that fails must not leave the terminal without a cursor
        # Handlers keep the stream they were made with; through the console their lines pass above the bar.
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler:
                self._streams.append((handler, handler.setStream(FileProxy(self.console, handler.stream))))

    def _advance(self, text: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, advance=1, description=text)

    def _describe(self, text: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, description=text)
