"""Predictions of a test run, as pictures and as class maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from cityseg_ext.hooks.prediction_panel import class_map, prediction_panel


@HOOKS.register_module()
class WritePredictionsHook(Hook):
    """Write one file for **every** tested image, with folders and names kept.

    Args:
        show_dir: folder for panels photo | ground truth | prediction with a legend (PNG).
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
            name = _relative_name(sample.img_path, dataset)
            if self.out_dir is not None:
                _write(Path(self.out_dir, name), class_map(sample.pred_sem_seg.data))
            if self.show_dir is not None:
                _write(Path(self.show_dir, name), prediction_panel(sample, dataset)[..., ::-1])
            self.names.add(name)

    def after_test(self, runner) -> None:
        names = set().union(*all_gather_object(self.names))  # of all ranks; samples that several had count once
        for what, folder in (("panels", self.show_dir), ("class maps", self.out_dir)):
            if folder is not None:
                runner.logger.info(f"Wrote {len(names)} {what} to {folder}")


def _relative_name(img_path: str, dataset: BaseDataset) -> str:
    folder = (getattr(dataset, "data_prefix", None) or {}).get("img_path") or os.path.dirname(img_path)
    name = os.path.relpath(img_path, folder)
    if name.startswith(".."):
        name = os.path.basename(img_path)
    return str(Path(name).with_suffix(".png"))


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise ValueError(f"Expected a picture that can be written as PNG for '{path}', but got shape {picture.shape}.")
    path.write_bytes(data.tobytes())
