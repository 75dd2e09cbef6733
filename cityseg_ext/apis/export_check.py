"""Whether an exported file computes what the model computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmseg.structures import SegDataSample
from torch import nn

from cityseg_ext.checks import file_problem

BATCHES = (1, 3)
TOLERANCE = 1e-3
"""Of logits and probabilities, as a share of the largest logit where that is above 1. Rounding stays far below it."""


@dataclass(frozen=True)
class Agreement:
    """How an exported file compares with mmseg's own prediction, over several sizes and batch sizes.

    Attributes:
        difference: the largest one, of logits or probabilities; of a class map, how far the logit of the class in the
            file is below the highest one.
        equal: share of the pixels that get the same class.
        sizes: heights and widths tried, each with every one of :data:`BATCHES`.
    """

    difference: float
    equal: float
    sizes: tuple[tuple[int, int], ...]


def check_agreement(segmentor: nn.Module, path: Path, output: str, min_side: int) -> Agreement:
    """Run an exported file and its model on random images.

    Args:
        segmentor: the model, in evaluation mode.
        path: ``*.onnx`` or ``*.pt2``.
        output: what the file returns, one of :data:`~cityseg_ext.apis.export_model.OUTPUTS`.
        min_side: the least height and width that the file takes.

    Returns:
        How well they agree.

    Raises:
        ValueError: if they do not.
    """
    run = _onnx(path) if path.suffix.lower() == ".onnx" else _torch(path)
    generator = np.random.default_rng(0)
    sizes = ((min_side, min_side), (min_side + 13, 2 * min_side + 3), (2 * min_side + 1, min_side + 30))
    difference, equal, pixels = 0.0, 0, 0
    for height, width in sizes:
        for batch in BATCHES:
            images = _random_images(generator, batch, height, width)
            logits, found = predict_logits(segmentor, images), run(images)
            classes = found if output == "class_map" else found.argmax(axis=1)
            if output == "class_map":
                chosen = np.take_along_axis(logits, found[:, None].astype(np.int64), axis=1)
                error = logits.max(axis=1, keepdims=True) - chosen
            else:
                error = np.abs(found - (logits if output == "logits" else _softmax(logits)))
            scale = max(1.0, float(np.abs(logits).max()))
            if not error.max() <= TOLERANCE * scale:  # NaN fails too
                raise ValueError(
                    file_problem(
                        path.name,
                        f"within {TOLERANCE * scale:.1g} of the model's {output}",
                        f"a difference of {error.max():.3g} for {batch} images of {height}x{width}; it was not kept",
                        "Please report this, with the config and the versions of torch and onnxscript.",
                    )
                )
            difference = max(difference, float(error.max()))
            equal, pixels = equal + int((classes == logits.argmax(axis=1)).sum()), pixels + classes.size
    return Agreement(difference, equal / pixels, sizes)


def predict_logits(segmentor: nn.Module, images: np.ndarray) -> np.ndarray:
    """What mmseg predicts for whole images in their own size, through its own preprocessing.

    Args:
        segmentor: a segmentor in evaluation mode.
        images: uint8 (N, H, W, 3), RGB.

    Returns:
        float32 (N, K, H, W).
    """
    bgr = [torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy()) for image in images]
    size = images.shape[1:3]
    samples = [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size)) for _ in images]
    before, segmentor.test_cfg = segmentor.test_cfg, segmentor.test_cfg | dict(mode="whole")
    try:
        with torch.no_grad():
            predicted = segmentor.test_step(dict(inputs=bgr, data_samples=samples))
    finally:
        segmentor.test_cfg = before
    return np.stack([sample.seg_logits.data.numpy() for sample in predicted])


def _onnx(path: Path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images})[0]


def _torch(path: Path):
    model = torch.export.load(path).module()
    return lambda images: model(torch.from_numpy(images)).numpy(force=True)


def _random_images(generator: np.random.Generator, batch: int, height: int, width: int) -> np.ndarray:
    """Noise on patches of one colour: where all is noise, some models see one class alone."""
    rows, columns = (-(-side // 16) for side in (height, width))
    patches = generator.integers(0, 200, (batch, rows, columns, 3))
    images = patches.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return (images + generator.integers(0, 56, images.shape)).astype(np.uint8)


def _softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(dim=1).numpy()
