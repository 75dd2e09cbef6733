"""From a batch of photographs, as the network sees them, to the logits of each, in strips of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from cityseg_ext.functional.row_stream import cropped_rows, resized_rows


def whole_rows(model: nn.Module, inputs: Tensor) -> list[Iterator[Tensor]]:
    """Predict whole images.

    Args:
        model: a segmentor of mmseg (an ``EncoderDecoder``), in evaluation mode.
        inputs: (N, 3, H, W), normalised and padded.

    Returns:
        For each image its (C, rows, W) logits, H rows in all; the network has run.
    """
    low = model.decode_head(model.extract_feat(inputs)).float()
    size = tuple(inputs.shape[2:])
    return [resized_rows([image], image.shape[1], size, model.align_corners) for image in low]


def window_rows(model: nn.Module, image: Tensor, window: Sequence[int], stride: Sequence[int]) -> Iterator[Tensor]:
    """Predict one image in windows that overlap, and average their logits: mmseg's ``slide_inference``, band by band.

    mmseg adds windows up in two maps of the whole image. Here a band of rows is handed on as soon as no further window
    touches it, so that the memory is that of one row of windows.

    Args:
        model: a segmentor of mmseg (an ``EncoderDecoder``), in evaluation mode.
        image: (3, H, W), normalised and padded.
        window: height and width of the windows.
        stride: from one window to the next, downwards and to the right.

    Yields:
        (C, rows, W) logits, H rows in all.
    """
    height, width = image.shape[1:]
    tops, lefts = (_starts(*side) for side in zip((height, width), window, stride, strict=True))
    total, done = image.new_zeros(model.out_channels, 0, width, dtype=torch.float32), 0
    count = torch.zeros_like(total[:1])
    for place, top in enumerate(tops):
        missing = min(top + window[0], height) - done - total.shape[1]
        total, count = (nn.functional.pad(sum_, (0, 0, 0, missing)) for sum_ in (total, count))
        for left in lefts:
            crop = image[None, :, top : top + window[0], left : left + window[1]]
            logits = torch.cat(list(whole_rows(model, crop)[0]), dim=1)
            area = (slice(None), slice(top - done, None), slice(left, left + window[1]))
            total[area] += logits
            count[area] += 1
        ready = (tops[place + 1] if place + 1 < len(tops) else height) - done
        yield total[:, :ready] / count[:, :ready]
        total, count, done = total[:, ready:], count[:, ready:], done + ready


def original_rows(rows: Iterator[Tensor], padded: Sequence[int], meta: dict, align_corners: bool) -> Iterator[Tensor]:
    """Take the padding off, and go back to the photograph's own size.

    Args:
        rows: (C, rows, W) logits of the padded image.
        padded: its height and width.
        meta: meta information of mmseg's data sample: ``ori_shape``, and ``padding_size`` or ``img_padding_size``.
        align_corners: how the model resizes.

    Yields:
        (C, rows, W) logits, in the photograph's size.
    """
    left, right, top, bottom = meta.get("img_padding_size", meta.get("padding_size", (0, 0, 0, 0)))
    size = (padded[0] - top - bottom, padded[1] - left - right)
    return resized_rows(cropped_rows(rows, top, left, size), size[0], meta["ori_shape"], align_corners)


def _starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows begin; the last ends with the image."""
    return [min(start, max(0, side - window)) for start in range(0, max(side - window + stride, 1), stride)]
