"""Predictions of a test run, as pictures and as class maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from cityseg_ext.hooks.prediction_panel import class_map, prediction_panel, relative_name
from cityseg_ext.whole_file import inside, write_whole


@HOOKS.register_module()
class WritePredictionsHook(Hook):
    """Write one file for **every** tested image, with folders and names kept.

    After the test ``names`` holds the names of all files of one kind, on every rank.

    Args:
        show_dir: folder for panels photo | ground truth | prediction | wrong pixels with a legend (PNG).
        out_dir: folder for class maps (8-bit grey PNG of class indices), for ``tools/evaluate.py`` and others.
    """

    def __init__(self, show_dir: str | None = None, out_dir: str | None = None) -> None:
        self.show_dir = show_dir
        self.out_dir = out_dir
        self.names: set[str] = set()

    def before_test(self, runner) -> None:
        self.names.clear()

    def after_test_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: Sequence[SegDataSample] | None = None
    ) -> None:
        """Write the files of one batch."""
        dataset = runner.test_dataloader.dataset
        for sample in outputs or ():
            name = str(Path(relative_name(sample.img_path, dataset)).with_suffix(".png"))
            if self.out_dir is not None:
                _write(inside("out_dir", self.out_dir, name), class_map(sample.pred_sem_seg.data))
            if self.show_dir is not None:
                _write(inside("show_dir", self.show_dir, name), prediction_panel(sample, dataset)[..., ::-1])
            self.names.add(name)

    def after_test(self, runner) -> None:
        self.names = set().union(*all_gather_object(self.names))  # samples that several ranks had count once
        for what, folder in (("panels", self.show_dir), ("class maps", self.out_dir)):
            if folder is not None:
                runner.logger.info(f"Wrote {len(self.names)} {what} to {folder}")


def _write(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise ValueError(f"Expected a picture that can be written as PNG for '{path}', but got shape {picture.shape}.")
    write_whole(path, data.tobytes())
