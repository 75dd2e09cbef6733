"""What a prediction looks like beside the truth."""

from __future__ import annotations

import os

import cv2
import mmcv
import numpy as np
from mmengine.dataset import BaseDataset
from mmseg.structures import SegDataSample

from cityseg_ext.functional.panels import PANEL_GAP, comparison_panel, reduced
from cityseg_ext.labels import IGNORE_INDEX


def prediction_panel(sample: SegDataSample, dataset: BaseDataset, max_width: int | None = None) -> np.ndarray:
    """Photo | ground truth | prediction | wrong pixels, above a legend.

    Args:
        sample: with ``img_path`` and ``pred_sem_seg``; without ``gt_sem_seg`` there are two pictures instead of four.
        dataset: its ``metainfo`` names classes and colours.
        max_width: pictures are reduced until the panel is at most so wide, in pixels; None leaves them as they are.

    Returns:
        uint8 (H', W', 3), RGB.
    """
    pred = class_map(sample.pred_sem_seg.data)
    photo = mmcv.imread(sample.img_path, channel_order="rgb")
    width = pred.shape[1]  # in image pairs the file is twice as wide: the mask is beside the photograph
    photo = photo[:, -width:] if getattr(dataset, "photo_side", "left") == "right" else photo[:, :width]
    maps = {"prediction": pred}
    if "gt_sem_seg" in sample:
        truth = class_map(sample.gt_sem_seg.data)
        maps = {"ground truth": truth, "prediction": pred, "wrong pixels, by true class": _errors(truth, pred)}
    if max_width is not None:
        room = (max_width - PANEL_GAP * len(maps)) // (1 + len(maps))
        photo = reduced(photo, room)
        maps = {title: reduced(indices, room, cv2.INTER_NEAREST) for title, indices in maps.items()}
    return comparison_panel(photo, maps, dataset.metainfo["classes"], dataset.metainfo["palette"])


def relative_name(img_path: str, dataset: BaseDataset) -> str:
    """The name of a photograph below the data set's folder of photographs, with the folders in between."""
    folder = (getattr(dataset, "data_prefix", None) or {}).get("img_path") or getattr(dataset, "data_root", None)
    name = os.path.relpath(img_path, folder or os.path.dirname(img_path))
    return os.path.basename(img_path) if name.startswith("..") else name


def class_map(data) -> np.ndarray:
    """Class indices of a sample's field, (1, H, W) or (H, W), as uint8 (H, W)."""
    return data.cpu().numpy().reshape(data.shape[-2:]).astype(np.uint8)


def _errors(truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """The truth where the prediction is wrong; black where it is right or void."""
    return np.where(truth != pred, truth, np.uint8(IGNORE_INDEX))
