"""Width and depth of a UNet, written into every field of a config that they decide."""

from __future__ import annotations

from mmengine.config import Config

from cityseg_ext.apis.config_tree import heads
from cityseg_ext.checks import check_at_least, expected

MIN_DEPTH = 2  # one stage is no U


def set_unet_size(cfg: Config, width: int | None = None, depth: int | None = None) -> None:
    """Make a config's UNet narrower or wider, shallower or deeper; its heads follow.

    Stage k of the encoder has ``width * 2**k`` channels at ``1 / 2**k`` of the image's size. The decode head takes the
    last features, which have ``width`` channels; the auxiliary head, if there is one, those before.

    Args:
        cfg: a config whose backbone is mmseg's ``UNet``; changed in place.
        width: channels of the first stage; None keeps the config's.
        depth: stages, at least 2; None keeps the config's. Each stage beyond the first halves the size, and images are
            padded to multiples of ``2**(depth - 1)``. A new depth comes with two convolutions a stage, undilated, and
            max pooling between stages, as in the original UNet.

    Raises:
        ValueError: if the model is no UNet, or a number is out of range.

    Example:
        >>> head = dict(type='FCNHead', in_channels=64, in_index=4, channels=64)
        >>> backbone = dict(type='UNet', base_channels=64, num_stages=5)
        >>> cfg = Config(dict(model=dict(data_preprocessor=dict(), backbone=backbone, decode_head=head)))
        >>> set_unet_size(cfg, width=16, depth=3)
        >>> cfg.model.decode_head.in_channels, cfg.model.decode_head.in_index
        (16, 2)
    """
    if width is None and depth is None:
        return
    model, backbone = cfg.model, cfg.model.backbone
    for name, value in (("unet_width", width), ("unet_depth", depth)):
        if value is not None and backbone.type != "UNet":
            raise ValueError(expected(name, "used with a config whose backbone is a UNet", repr(backbone.type)))
    if width is not None:
        check_at_least("unet_width", width, 1)
        backbone.base_channels = width
        for head in heads(cfg):
            head.channels = width
    if depth is not None:
        _check_depth(cfg, depth)
        backbone.update(
            num_stages=depth,
            strides=(1,) * depth,
            enc_num_convs=(2,) * depth,
            dec_num_convs=(2,) * (depth - 1),
            downsamples=(True,) * (depth - 1),
            enc_dilations=(1,) * depth,
            dec_dilations=(1,) * (depth - 1),
        )
        model.data_preprocessor.size_divisor = 2 ** (depth - 1)
        model.data_preprocessor.test_cfg = dict(size_divisor=2 ** (depth - 1))
    # The decoder returns its features coarse to fine.
    for steps_back, head in enumerate(heads(cfg)):
        head.in_index = backbone.num_stages - 1 - steps_back
        head.in_channels = backbone.base_channels * 2**steps_back


def _check_depth(cfg: Config, depth: int) -> None:
    check_at_least("unet_depth", depth, MIN_DEPTH)
    shorter = min(cfg.get("image_size", (2**depth,)))
    if 2 ** (depth - 1) > shorter:
        rule = f"at most {shorter.bit_length()} for images of {shorter} pixels"
        raise ValueError(expected("unet_depth", rule, depth, "Each stage beyond the first halves them."))
