"""Test-time augmentation."""

from __future__ import annotations

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample


@MODELS.register_module()
class MeanProbabilityTTA(BaseTTAModel):
    """Average the class probabilities of all augmented copies of an image.

    mmseg's ``SegTTAModel`` averages too, but hands the last copy's logits on. Here ``seg_logits`` is the logarithm of
    the mean probabilities, so that all that is computed from it (validation loss, confidence) is the merged result's.

    Args:
        module: the segmentor, or its config.
    """

    def merge_preds(self, data_samples_list: list[list[SegDataSample]]) -> list[SegDataSample]:
        """Merge the predictions of each image's copies; see mmengine's ``BaseTTAModel``."""
        return [self._merge(copies) for copies in data_samples_list]

    @staticmethod
    def _merge(copies: list[SegDataSample]) -> SegDataSample:
        total = copies[0].seg_logits.data.float().softmax(dim=0)
        for copy in copies[1:]:
            total = total + copy.seg_logits.data.float().softmax(dim=0)
        log_mean = (total / len(copies)).clamp_min(torch.finfo(total.dtype).tiny).log()
        merged = copies[0]
        merged.set_data(
            {
                "seg_logits": PixelData(data=log_mean),
                "pred_sem_seg": PixelData(data=log_mean.argmax(dim=0, keepdim=True)),
            }
        )
        return merged
