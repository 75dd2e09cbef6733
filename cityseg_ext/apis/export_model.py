"""What is exported: a segmentor from photographs as they are to classes, in operations that allow any size."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils.wrappers import Upsample
from torch import nn

from cityseg_ext.checks import check_choice, expected

OUTPUTS = {
    "class_map": "uint8 (batch, height, width), index of the most likely class",
    "logits": "float32 (batch, classes, height, width)",
    "probabilities": "float32 (batch, classes, height, width), summing up to 1 over the classes",
}
_LEAST_SIDE = 64  # smaller features than two pixels a side behave differently: at stride 32, those of 64 pixels


class ExportedModel(nn.Module):
    """Normalisation, padding, the model, and what makes a prediction of its output.

    It computes what mmseg's ``predict`` computes for images in the size they have, in whole.

    Args:
        segmentor: an ``EncoderDecoder`` in evaluation mode; not changed.
        output: one of :data:`OUTPUTS`.

    Attributes:
        min_side: the least height and width of images.

    Raises:
        ValueError: if the model is of a kind whose prediction is not known here.
    """

    def __init__(self, segmentor: nn.Module, output: str):
        super().__init__()
        check_choice("output", output, OUTPUTS)
        _check_kind(segmentor)
        self.output = output
        segmentor = copy.deepcopy(segmentor).requires_grad_(False)
        _replace_upsampling(segmentor)
        segmentor.auxiliary_head = None
        self.segmentor = segmentor
        preprocessor = segmentor.data_preprocessor
        # This package loads photographs as BGR, as all of mmseg does, and a config says whether to turn them.
        # mmseg 1.2 and the maintained line call it by two names.
        converts = vars(preprocessor).get("channel_conversion", vars(preprocessor).get("_channel_conversion"))
        self.is_bgr = not converts
        self.pad_value = preprocessor.pad_val
        self.divisor = (preprocessor.test_cfg or {}).get("size_divisor") or 1
        self.min_side = max(_LEAST_SIDE, 2 * self.divisor)
        self.align_corners = segmentor.align_corners

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Predict.

        Args:
            image: uint8 (N, H, W, 3), RGB, sides of ``min_side`` at least.

        Returns:
            ``class_map``: uint8 (N, H, W); ``logits`` or ``probabilities``: float32 (N, K, H, W).
        """
        preprocessor = self.segmentor.data_preprocessor
        inputs = image.permute(0, 3, 1, 2).contiguous().float()
        if self.is_bgr:
            inputs = inputs.flip(1)
        if preprocessor._enable_normalize:
            inputs = (inputs - preprocessor.mean) / preprocessor.std
        height, width = inputs.shape[2:]
        # No negative numbers: the division that ONNX has rounds them towards 0.
        full_height, full_width = ((side + self.divisor - 1) // self.divisor * self.divisor for side in (height, width))
        below, right = full_height - height, full_width - width
        if self.divisor > 1:
            inputs = F.pad(inputs, (0, right, 0, below), value=self.pad_value)
        logits = self.segmentor.decode_head(self.segmentor.extract_feat(inputs))
        logits = F.interpolate(
            logits, size=(full_height, full_width), mode="bilinear", align_corners=self.align_corners
        )
        if self.divisor > 1:
            logits = F.pad(logits, (0, -right, 0, -below))  # a slice would not be known to have the size of the image
        if self.output == "class_map":
            return logits.argmax(dim=1).to(torch.uint8)
        return logits.softmax(dim=1) if self.output == "probabilities" else logits


class _Upsample(nn.Module):
    """mmseg's ``Upsample`` by a whole factor; its own goes through floats, which fixes the size in an export."""

    def __init__(self, factor: int, mode: str, align_corners: bool | None):
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = [side * self.factor for side in x.shape[2:]]
        return F.interpolate(x, size=size, mode=self.mode, align_corners=self.align_corners)


def _replace_upsampling(model: nn.Module) -> None:
    for part in list(model.modules()):
        for name, child in part.named_children():
            if isinstance(child, Upsample) and isinstance(child.scale_factor, float):
                if not child.scale_factor.is_integer():
                    raise ValueError(expected("scale_factor", "a whole number in an export", child.scale_factor))
                setattr(part, name, _Upsample(int(child.scale_factor), child.mode, child.align_corners))


def _check_kind(segmentor: nn.Module) -> None:
    head, padding = segmentor.decode_head, segmentor.data_preprocessor.test_cfg or {}
    known = isinstance(head, BaseDecodeHead) and type(head).predict_by_feat is BaseDecodeHead.predict_by_feat
    if not known:
        raise ValueError(expected("model.decode_head", "one head that scores every pixel", type(head).__name__))
    if not 2 <= head.out_channels <= 256:
        raise ValueError(expected("model.decode_head.out_channels", "2 to 256, to be exported", head.out_channels))
    if padding.get("size") is not None:
        rule = "without `size`, which pads images to one size (use `size_divisor`)"
        raise ValueError(expected("model.data_preprocessor.test_cfg", rule, dict(padding)))
