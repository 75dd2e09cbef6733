"""ConvNeXt as a backbone, with the parameter names of the public checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import nn
from torch.utils.checkpoint import checkpoint

from cityseg_ext.checks import check_choice, expected

ARCHITECTURES = {
    "tiny": dict(depths=(3, 3, 9, 3), channels=(96, 192, 384, 768)),
    "small": dict(depths=(3, 3, 27, 3), channels=(96, 192, 384, 768)),
    "base": dict(depths=(3, 3, 27, 3), channels=(128, 256, 512, 1024)),
}
"""Blocks and channels of each stage: table 9 of the paper."""

OUTPUT_STRIDES = (32, 16, 8)
_LAYER_NORM_EPS = 1e-6
_FROM_SCRATCH = dict(type="TruncNormal", layer=["Conv2d", "Linear"], std=0.02, bias=0.0)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W); both permutations are views."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DenseDownsampling(nn.Conv2d):
    """The 2x2 convolution before a stage without its stride: (N, C, H, W) keeps H and W.

    Its two taps lie as far apart as neighbours do at the stride that the weights come from, and as evenly around the
    output pixel as that distance allows. (``padding='same'`` does this too, but warns.)
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=2, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        distance = self.dilation[0]
        before, after = distance // 2, distance - distance // 2
        return super().forward(F.pad(x, (before, after, before, after)))


class ConvNeXtBlock(nn.Module):
    """``x + gamma * MLP(LayerNorm(depthwise 7x7(x)))``, with stochastic depth.

    Args:
        channels: of input and output, (N, C, H, W).
        dilation: of the depthwise convolution.
        drop_path: how often a sample skips the block, in [0, 1).
        layer_scale: start value of ``gamma``.
    """

    def __init__(self, channels: int, dilation: int, drop_path: float, layer_scale: float) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv2d(
            channels, channels, kernel_size=7, padding=3 * dilation, dilation=dilation, groups=channels
        )
        self.norm = nn.LayerNorm(channels, eps=_LAYER_NORM_EPS)
        # Linear instead of 1x1 convolutions, as in the public files: their weights have two dimensions.
        self.pointwise_conv1 = nn.Linear(channels, 4 * channels)
        self.pointwise_conv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), float(layer_scale)))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # One permutation for norm, MLP and scale together; in channels_last memory it copies nothing.
        y = self.norm(self.depthwise_conv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pointwise_conv2(F.gelu(self.pointwise_conv1(y)))
        return x + self.drop_path(y.permute(0, 3, 1, 2))


@MODELS.register_module()
class PlainConvNeXt(BaseModule):
    """ConvNeXt in plain PyTorch: neither mmpretrain, nor timm, nor torchvision is needed.

    Liu et al., "A ConvNet for the 2020s", CVPR 2022, https://arxiv.org/abs/2201.03545. Parameters have the names and
    shapes of mmpretrain's ``ConvNeXt(gap_before_final_norm=False)``, so that its public checkpoints load
    (``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')``). Those of classifiers lack ``norm0`` to
    ``norm2``, which then start as they are made: 1 and 0.

    At ``output_stride`` 16 or 8 the last one or two downsampling layers do not shrink; they and the depthwise
    convolutions behind them are dilated instead. Weights keep their meaning: every second (fourth) feature is exactly
    that of stride 32, and the others are in between.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'base'``, or a dict of ``depths`` and ``channels``, one number for each of the
            four stages.
        in_channels: of the image.
        output_stride: input pixels for one feature of the last stage: 32, 16 or 8.
        out_indices: which stages' features to return, in [0, 3].
        drop_path_rate: stochastic depth of the last block, in [0, 1); from 0 at the first it grows linearly.
        layer_scale_init_value: start value of every ``gamma``.
        frozen_stages: as in mmseg's ResNet: -1 trains everything, 0 freezes the stem, N the first N stages too.
        with_cp: compute activations again in the backward pass instead of keeping them: less memory, more time.
        init_cfg: where weights come from; by default a truncated normal distribution.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> net = PlainConvNeXt(dict(depths=(1, 1, 1, 1), channels=(8, 16, 32, 64)), output_stride=16)
        >>> [tuple(features.shape) for features in net(torch.zeros(1, 3, 64, 96))]
        [(1, 8, 16, 24), (1, 16, 8, 12), (1, 32, 4, 6), (1, 64, 4, 6)]
    """

    def __init__(
        self,
        arch: str | dict = "tiny",
        in_channels: int = 3,
        output_stride: int = 32,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        drop_path_rate: float = 0.1,
        layer_scale_init_value: float = 1e-6,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or _FROM_SCRATCH)
        depths, channels = _architecture(arch)
        check_choice("output_stride", output_stride, OUTPUT_STRIDES)
        check_choice("frozen_stages", frozen_stages, range(-1, len(depths) + 1))
        for index in out_indices:
            check_choice("out_indices", index, range(len(depths)))
        if not 0 <= drop_path_rate < 1:
            raise ValueError(expected("drop_path_rate", "in [0, 1)", drop_path_rate))
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp

        last = max(1, sum(depths) - 1)
        drop_paths = (drop_path_rate * number / last for number in range(sum(depths)))
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        stride, dilation = 4, 1
        for index, (depth, width) in enumerate(zip(depths, channels, strict=True)):
            if index == 0:
                stem = nn.Conv2d(in_channels, width, kernel_size=stride, stride=stride)
                self.downsample_layers.append(nn.Sequential(stem, _norm(width)))
            else:
                before = channels[index - 1]
                if stride < output_stride:
                    conv, stride = nn.Conv2d(before, width, kernel_size=2, stride=2), 2 * stride
                else:
                    conv, dilation = DenseDownsampling(before, width, dilation), 2 * dilation
                self.downsample_layers.append(nn.Sequential(_norm(before), conv))
            blocks = (ConvNeXtBlock(width, dilation, next(drop_paths), layer_scale_init_value) for _ in range(depth))
            self.stages.append(nn.Sequential(*blocks))
            if index in self.out_indices:
                self.add_module(f"norm{index}", _norm(width))
        self._freeze()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features of the stages in ``out_indices``, fine to coarse.

        Args:
            x: images, float (N, in_channels, H, W), of at least ``output_stride`` pixels a side. Rows and columns at
                the end that fill no whole cell of a stage are left out, as in every public implementation.

        Returns:
            One (N, C, H // stride, W // stride) a stage, in channels_last memory.
        """
        features = []
        for index, (downsample, blocks) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            x = downsample(x)
            for block in blocks:
                x = checkpoint(block, x, use_reentrant=False) if self.with_cp and self.training else block(x)
            if index in self.out_indices:
                features.append(getattr(self, f"norm{index}")(x))
        return tuple(features)

    def train(self, mode: bool = True) -> PlainConvNeXt:
        """As ``nn.Module.train``; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        # Stage N comes with the downsampling before it; the stem is that of the first stage.
        downsampling = self.downsample_layers[: max(self.frozen_stages, 1)]
        for part in chain(downsampling, self.stages[: self.frozen_stages]):
            part.eval().requires_grad_(False)


def _norm(channels: int) -> ChannelLayerNorm:
    return ChannelLayerNorm(channels, eps=_LAYER_NORM_EPS)


def _architecture(arch: str | dict) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(arch, str):
        check_choice("arch", arch, ARCHITECTURES)
        arch = ARCHITECTURES[arch]
    depths, channels = tuple(arch.get("depths", ())), tuple(arch.get("channels", ()))
    if not (len(depths) == len(channels) == 4 and min(depths + channels) >= 1):
        raise ValueError(expected("arch", "a name or a dict with four depths and four channels of at least 1", arch))
    return depths, channels
