"""What became of training samples that could not be read."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from cityseg_ext.checks import shorten

FILE = "bad_samples.jsonl"


@HOOKS.register_module()
class BadSamplesHook(Hook):
    """Keep count of the samples that a data set with ``on_error='skip'`` leaves out, and list them at the end.

    They are in ``bad_samples.jsonl`` in the work dir, one JSON object a line with ``photo`` and ``reason``. A resumed
    run leaves the same ones out; a new run tries all again.
    """

    def before_train(self, runner) -> None:
        dataset = _innermost(runner.train_dataloader.dataset)
        if getattr(dataset, "on_error", "raise") != "skip":
            return
        path = Path(runner.work_dir, FILE)
        if is_main_process() and not runner._resume:
            path.unlink(missing_ok=True)
        barrier()
        dataset.quarantine.file = path
        dataset.quarantine.read()

    def after_train(self, runner) -> None:
        dataset = _innermost(runner.train_dataloader.dataset)
        if getattr(dataset, "on_error", "raise") != "skip":
            return
        dataset.quarantine.read()
        if dataset.quarantine:
            reasons = shorten(list(dataset.quarantine.reasons.values()))
            runner.logger.warning(
                f"{len(dataset.quarantine)} of {len(dataset)} training samples could not be read, and others took "
                f"their places: {reasons} All of them: {dataset.quarantine.file}"
            )


def _innermost(dataset: Dataset) -> Dataset:
    """The data set inside wrappers that repeat or mix."""
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset
