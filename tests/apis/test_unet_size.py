import pytest
import torch
from conftest import ROOT
from mmseg.registry import MODELS

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.unet_size import set_unet_size

CONFIG = "configs/unet29_128.py"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(("width", "depth"), [(4, 2), (3, 4), (8, None), (None, 3), (1, 8)])
@pytest.mark.parametrize("config", [CONFIG, "configs/unet_pairs_256.py"])
def test_models_of_any_size_train_and_predict(config, width, depth):
    cfg = load_config(config, unet_width=width, unet_depth=depth)
    width, depth = width or cfg.model.backbone.base_channels, depth or 5
    model = MODELS.build(cfg.model)
    encoder = model.backbone.encoder
    assert len(encoder) == depth and len(model.backbone.decoder) == depth - 1
    widths = [stage[-1].convs[-1].conv.out_channels for stage in encoder]
    assert widths == [width * 2**stage for stage in range(depth)]
    divisor = 2 ** (depth - 1)
    padding = cfg.model.data_preprocessor
    assert padding.size_divisor == padding.test_cfg.size_divisor == divisor
    features = model.eval()(torch.zeros(2, 3, divisor, 2 * divisor), mode="tensor")
    assert features.shape == (2, cfg.model.decode_head.num_classes, divisor, 2 * divisor)
    aux = model.auxiliary_head(model.extract_feat(torch.zeros(2, 3, divisor, 2 * divisor)))
    assert aux.shape[-2:] == (divisor // 2, divisor)


def test_the_sizes_in_the_configs_are_the_functions_own():
    for config, width in ((CONFIG, 32), ("configs/unet_ce.py", 64)):
        plain = MODELS.build(load_config(config).model).state_dict()
        again = MODELS.build(load_config(config, unet_width=width, unet_depth=5).model).state_dict()
        assert {key: value.shape for key, value in plain.items()} == {key: value.shape for key, value in again.items()}


def test_without_numbers_nothing_changes():
    cfg = load_config(CONFIG)
    before = cfg.to_dict()
    set_unet_size(cfg)
    assert cfg.to_dict() == before


def test_a_model_without_auxiliary_head():
    cfg = load_config(CONFIG)
    cfg.model.auxiliary_head = None
    set_unet_size(cfg, width=6, depth=3)
    head = cfg.model.decode_head
    assert (head.in_channels, head.in_index, head.channels) == (6, 2, 6)


def test_single_fields_are_written_after_it():
    cfg = load_config(CONFIG, unet_width=8, cfg_options={"model.decode_head.channels": 5})
    assert (cfg.model.decode_head.in_channels, cfg.model.decode_head.channels) == (8, 5)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("configs/deeplabv3_ce.py", dict(unet_width=8), "`unet_width` to be used with .* UNet, but got 'ResNetV1c'"),
        ("configs/deeplabv3_ce.py", dict(unet_depth=3), "`unet_depth` to be used with .* UNet, but got 'ResNetV1c'"),
        (CONFIG, dict(unet_width=0), "`unet_width` to be at least 1, but got 0"),
        (CONFIG, dict(unet_depth=1), "`unet_depth` to be at least 2, but got 1"),
        (CONFIG, dict(unet_depth=9), "`unet_depth` to be at most 8 for images of 128 pixels, but got 9"),
        (CONFIG, dict(unet_depth=7, image_size=(48, 96)), "`unet_depth` to be at most 6 for images of 48 pixels"),
    ],
)
def test_mistakes_are_named(config, options, message):
    with pytest.raises(ValueError, match=message):
        load_config(config, **options)
