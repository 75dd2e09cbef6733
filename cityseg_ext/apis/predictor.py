"""Predictions for photographs of any size: a model, loaded once, and called with arrays."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor

from cityseg_ext.apis.checkpoint import load_weights
from cityseg_ext.apis.class_balance import forget_weights
from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.inference_options import set_slide, set_tta
from cityseg_ext.apis.logit_rows import original_rows, whole_rows, window_rows
from cityseg_ext.apis.publish import read_published_config
from cityseg_ext.checks import check_choice, expected
from cityseg_ext.functional.row_stream import best_class, strip_rows
from cityseg_ext.hooks.segmentor import segmentor_of
from cityseg_ext.labels import TAXONOMIES, Color, Taxonomy

KEEP = ("class_map", "confidence", "probabilities")
WHOLE_PIXELS = 2**23
"""Larger network inputs (2048x4096 and more) are predicted in windows: a ResNet's features of them take gigabytes."""

_WINDOW = 1024


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one photograph, in its own size.

    Attributes:
        class_map: uint8 (H, W), class indices.
        confidence: float32 (H, W), the probability of that class, 1/C to 1; None unless asked for.
        probabilities: float32 (C, H, W), which sum to 1; None unless asked for.
    """

    class_map: np.ndarray
    confidence: np.ndarray | None = None
    probabilities: np.ndarray | None = None


class Predictor:
    """A segmentor that takes photographs as arrays and gives class maps of their size.

    Args:
        config: a config, or the path of one; None takes the one in a checkpoint of ``tools/publish.py``.
        checkpoint: the checkpoint that was trained with it; tensors only are read.
        trust: unpickle whatever else the checkpoint holds, which may run code.
        tta: average the probabilities of flipped copies too.
        tta_scales: do so with copies of these sizes too, as factors.
        slide: height and width of windows to predict in; by default images are predicted whole, if the network's input
            has at most 2**23 pixels.
        refiner: config of a refiner, which is called with the photograph and the probabilities and gives better ones.
        amp: half precision: fp16 on CUDA, bf16 elsewhere.

    Attributes:
        classes: class names in the order of their indices.
        palette: their RGB colours.
        taxonomy: the numbering of classes; None if it is none of the package's own.

    Raises:
        FileNotFoundError, ValueError: if the config or the checkpoint is wrong, or they do not fit.

    Example:
        >>> predictor = Predictor('configs/deeplabv3_focaldice.py', 'best.pth')  # doctest: +SKIP
        >>> prediction, = predictor.predict([read_photo('street.jpg')])  # doctest: +SKIP
        >>> prediction.class_map.shape  # doctest: +SKIP
        (1024, 2048)
    """

    def __init__(
        self,
        config: str | Config | None,
        checkpoint: str,
        *,
        trust: bool = False,
        tta: bool = False,
        tta_scales: Sequence[float] | None = None,
        slide: Sequence[int] | None = None,
        refiner: dict | None = None,
        amp: bool = False,
    ) -> None:
        if config is None:
            cfg = read_published_config(checkpoint)
        else:
            cfg = load_config(config) if isinstance(config, str) else copy.deepcopy(config)
        init_default_scope(cfg.get("default_scope", "mmseg"))
        forget_weights(cfg)
        cfg.model.pretrained = None
        cfg.model.backbone.init_cfg = None  # all weights come from the checkpoint
        if slide is not None:
            set_slide(cfg, slide)
        self._augmented = tta or tta_scales is not None
        pipeline = cfg.get("test_pipeline") or cfg.test_dataloader.dataset.pipeline
        if self._augmented:
            set_tta(cfg, tta_scales)
            pipeline = cfg.tta_pipeline
        self._pipeline = Compose(_without_loading(pipeline))
        self._model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
        meta = load_weights(segmentor_of(self._model), checkpoint, trust)
        self._model.to(get_device())
        self._refiner = None if refiner is None else MODELS.build(refiner)
        self._amp = amp
        self.classes, self.palette, self.taxonomy = _names(segmentor_of(self._model).out_channels, meta, checkpoint)

    @torch.inference_mode()
    def predict(self, images: Sequence[np.ndarray], keep: str = "class_map") -> list[Prediction]:
        """Predict photographs; those that the network sees in one size go through it together.

        Args:
            images: uint8 (H, W, 3), RGB, of any sizes.
            keep: ``'class_map'``, ``'confidence'`` (class map and confidence) or ``'probabilities'`` (everything).

        Returns:
            A prediction for each, in the same order.

        Raises:
            ValueError: if an image has another shape or type, or ``keep`` is none of these.
        """
        check_choice("keep", keep, KEEP)
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise ValueError(expected("image", "uint8 of shape (H, W, 3)", f"{image.dtype} of shape {image.shape}"))
        samples = [self._prepare(image) for image in images]
        groups: dict[tuple, list[int]] = {}
        for index, sample in enumerate(samples):
            inputs = sample["inputs"]
            shapes = [part.shape for part in inputs] if isinstance(inputs, list) else [inputs.shape]
            groups.setdefault(tuple(shapes), []).append(index)
        found: dict[int, Prediction] = {}
        half = torch.float16 if get_device() == "cuda" else torch.bfloat16
        with torch.autocast(get_device(), half, enabled=self._amp):  # strips are computed as they are collected
            for group in groups.values():
                for index, rows in zip(group, self._logits([samples[index] for index in group]), strict=True):
                    found[index] = self._collect(images[index], rows, keep)
        return [found[index] for index in range(len(images))]

    def _prepare(self, image: np.ndarray) -> dict:
        try:
            return self._pipeline(_as_results(image))
        except cv2.error as error:  # a side that would be resized to no pixel at all
            rule, found = "of sides that the config's test pipeline can resize", f"{image.shape[0]}x{image.shape[1]}"
            raise ValueError(expected("image", rule, found, "Crop or pad it.")) from error

    def _logits(self, samples: list[dict]) -> list[Iterator[Tensor]]:
        """(C, rows, W) logits of each image of a batch, in its own size."""
        if self._augmented:
            merged = self._model.test_step(pseudo_collate(samples))
            return [_split(sample.seg_logits.data) for sample in merged]
        batch = self._model.data_preprocessor(pseudo_collate(samples), False)
        inputs, corners = batch["inputs"], self._model.align_corners
        metas = [sample.metainfo for sample in batch["data_samples"]]
        rows = self._rows(inputs)
        return [original_rows(part, inputs.shape[2:], meta, corners) for part, meta in zip(rows, metas, strict=True)]

    def _rows(self, inputs: Tensor) -> list[Iterator[Tensor]]:
        """(C, rows, W) logits of each image, in the size of the network's input."""
        test_cfg, (height, width) = self._model.test_cfg, inputs.shape[2:]
        if test_cfg.get("mode", "whole") == "slide":
            return [window_rows(self._model, image, test_cfg.crop_size, test_cfg.stride) for image in inputs]
        if height * width <= WHOLE_PIXELS:
            try:
                return whole_rows(self._model, inputs)
            except torch.OutOfMemoryError:
                if height <= _WINDOW and width <= _WINDOW:
                    raise
                torch.cuda.empty_cache()
        print_log(
            f"Images of {height}x{width} do not fit into memory as a whole: predicting windows of {_WINDOW}x{_WINDOW}.",
            logger="current",
            level=logging.WARNING,
        )
        stride = _WINDOW * 3 // 4
        return [window_rows(self._model, image, (_WINDOW, _WINDOW), (stride, stride)) for image in inputs]

    def _collect(self, image: np.ndarray, rows: Iterator[Tensor], keep: str) -> Prediction:
        """Put the strips of one image together, of what is to be kept only."""
        height, width = image.shape[:2]
        if self._refiner is not None:
            logits = torch.cat([strip.float() for strip in rows], dim=1)
            rows = _split(self._refiner(image, logits.softmax(dim=0)).clamp_min(torch.finfo(torch.float32).tiny).log())
        class_map = np.empty((height, width), np.uint8)
        confidence = None if keep == "class_map" else np.empty((height, width), np.float32)
        probabilities = None
        if keep == "probabilities":
            probabilities = np.empty((len(self.classes), height, width), np.float32)
        top = 0
        for strip in rows:
            here = slice(top, top + strip.shape[1])
            top = here.stop
            if confidence is None:
                # On a CPU 2.4 times as fast as argmax.
                class_map[here] = strip.max(dim=0).indices.to(torch.uint8).cpu().numpy()
                continue
            best, sure = best_class(strip)
            class_map[here], confidence[here] = best.cpu().numpy(), sure.cpu().numpy()
            if probabilities is not None:
                probabilities[:, here] = strip.float().softmax(dim=0).cpu().numpy()
        return Prediction(class_map, confidence, probabilities)


def _without_loading(pipeline: Sequence[dict]) -> list[dict]:
    """A test pipeline without what reads files: images are given as arrays, and nobody needs labels."""
    kept = []
    for part in copy.deepcopy(list(pipeline)):
        if isinstance(part, (list, tuple)):
            kept.append(_without_loading(part))
        elif not str(part["type"]).rpartition(".")[2].startswith("Load"):
            if part["type"] == "TestTimeAug":
                part["transforms"] = [choices for choices in map(_without_loading, part["transforms"]) if choices]
            kept.append(part)
    return kept


def _as_results(image: np.ndarray) -> dict:
    """What mmcv's loading transform would hand on."""
    shape = image.shape[:2]
    bgr = np.ascontiguousarray(image[..., ::-1])
    return dict(img=bgr, img_path=None, img_shape=shape, ori_shape=shape, seg_fields=[], reduce_zero_label=False)


def _split(logits: Tensor) -> Iterator[Tensor]:
    return iter(logits.split(strip_rows(logits.shape[0], logits.shape[2]), dim=1))


def _names(count: int, meta: dict, checkpoint: str) -> tuple[tuple[str, ...], tuple[Color, ...], Taxonomy | None]:
    """Classes and palette, as the checkpoint has them, else of the taxonomy that has so many classes."""
    known = meta.get("dataset_meta") or {}
    classes, palette = known.get("classes"), known.get("palette")
    if classes is None or palette is None:
        taxonomy = next((taxonomy for taxonomy in TAXONOMIES.values() if taxonomy.num_classes == count), None)
        if taxonomy is None:
            rule = f"a checkpoint that names its classes, as those that we train do, as it has {count}"
            raise ValueError(expected("checkpoint", rule, repr(checkpoint)))
        return taxonomy.classes, taxonomy.palette, taxonomy
    if len(classes) != count or len(palette) != count:
        rule = f"one with {count} classes and colours, as its model has"
        raise ValueError(expected("checkpoint", rule, f"{len(classes)} and {len(palette)} in {checkpoint!r}"))
    classes = tuple(map(str, classes))
    taxonomy = next((taxonomy for taxonomy in TAXONOMIES.values() if taxonomy.classes == classes), None)
    return classes, tuple(tuple(int(part) for part in color) for color in palette), taxonomy
