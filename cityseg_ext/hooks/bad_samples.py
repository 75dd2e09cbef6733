"""What became of training samples that could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from cityseg_ext.checks import shorten
from cityseg_ext.hooks.dataset_parts import parts_of

FILE = "bad_samples.jsonl"


@HOOKS.register_module()
class BadSamplesHook(Hook):
    """Keep count of the samples that a data set with ``on_error='skip'`` leaves out, and list them at the end.

    They are in ``bad_samples.jsonl`` in the work dir, one JSON object a line with ``photo`` and ``reason``; those of a
    second data set that is joined to the first in ``bad_samples_2.jsonl``, and so on. A resumed run leaves the same
    ones out; a new run tries all again.
    """

    def before_train(self, runner) -> None:
        for number, dataset in enumerate(_skipping(runner), start=1):
            path = Path(runner.work_dir, FILE if number == 1 else FILE.replace(".", f"_{number}."))
            if is_main_process() and not runner._resume:
                path.unlink(missing_ok=True)
            barrier()
            dataset.quarantine.file = path
            dataset.quarantine.read()

    def after_train(self, runner) -> None:
        for dataset in _skipping(runner):
            dataset.quarantine.read()
            if dataset.quarantine:
                reasons = shorten(list(dataset.quarantine.reasons.values()))
                runner.logger.warning(
                    f"{len(dataset.quarantine)} of {len(dataset)} training samples could not be read, and others took "
                    f"their places: {reasons} All of them: {dataset.quarantine.file}"
                )


def _skipping(runner) -> Iterator[Dataset]:
    parts = parts_of(runner.train_dataloader.dataset)
    return (dataset for dataset in parts if getattr(dataset, "on_error", "raise") == "skip")
