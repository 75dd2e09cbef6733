"""A segmentor whose predictions are refined with the photograph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from cityseg_ext.checks import expected


@MODELS.register_module()
class RefinedSegmentor(BaseModel):
    """Refine every prediction of a segmentor, or of its test-time augmentation, in validation and test.

    The refiner sees the photograph as it is in its file: of its own size, neither flipped nor padded nor normalised.
    Its path, and which half of the file it is (``photo_half``, in image pairs), are read from the data sample.

    Each sample's ``seg_logits`` become the logarithm of the refined probabilities, and ``pred_sem_seg`` their best
    class; what they were is kept as ``unrefined_logits`` and ``unrefined_sem_seg``, for scores before and after.

    Args:
        module: the segmentor or its wrapper for test-time augmentation, or the config of one. It must have more than
            one output channel.
        refiner: a callable ``refiner(image, probabilities)`` of uint8 (H, W, 3) RGB and float (C, H, W), which returns
            probabilities like these; or its config.
        loader: config of the transform that reads photographs, in BGR order, as the test pipeline does.
        data_preprocessor: of a module that has none; mmengine's runner hands on the config's.

    Raises:
        ValueError: when used, if a photograph has not the size of its prediction.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        refiner: dict | Callable[[np.ndarray, Tensor], Tensor],
        loader: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__()
        if isinstance(module, dict):
            default = {} if data_preprocessor is None else dict(data_preprocessor=data_preprocessor)
            module = MODELS.build({**default, **module})
        self.module = module
        self.refiner = MODELS.build(refiner) if isinstance(refiner, dict) else refiner
        self.loader = TRANSFORMS.build(loader or dict(type="LoadStreetImage"))

    def test_step(self, data: dict | tuple | list) -> list[SegDataSample]:
        """Predict one batch, and refine it; see mmengine's ``BaseModel``."""
        return [self._refine(sample) for sample in self.module.test_step(data)]

    def val_step(self, data: dict | tuple | list) -> list[SegDataSample]:
        """As :meth:`test_step`."""
        return self.test_step(data)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        """What the module gives: refinement needs photographs, which only the samples of a test have."""
        return self.module(inputs, data_samples, mode)

    @torch.no_grad()
    def _refine(self, sample: SegDataSample) -> SegDataSample:
        logits = sample.seg_logits.data.float()
        if logits.shape[0] < 2:
            raise ValueError(expected("out_channels", "at least 2 for refinement", logits.shape[0]))
        facts = dict(img_path=sample.img_path, photo_half=sample.get("photo_half"))
        image = np.ascontiguousarray(self.loader(facts)["img"][..., ::-1])
        if image.shape[:2] != logits.shape[1:]:
            rule = f"of the size of photograph '{sample.img_path}', {image.shape[:2]}"
            raise ValueError(expected("seg_logits", rule, tuple(logits.shape[1:])))
        refined = self.refiner(image, logits.softmax(dim=0))
        log_refined = refined.clamp_min(torch.finfo(refined.dtype).tiny).log()
        sample.set_data(
            {
                "unrefined_logits": sample.seg_logits,
                "unrefined_sem_seg": sample.pred_sem_seg,
                "seg_logits": PixelData(data=log_refined),
                "pred_sem_seg": PixelData(data=log_refined.argmax(dim=0, keepdim=True)),
            }
        )
        return sample
