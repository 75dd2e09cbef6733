"""Every shipped config builds, and its model has the names of mmseg's own."""

from pathlib import Path

import mmseg
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmseg.registry import MODELS, TRANSFORMS

from cityseg_ext.apis.config import load_config

CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.py"))
MMSEG_MODELS = Path(mmseg.__file__).parent / ".mim" / "configs" / "_base_" / "models"


def weights(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def build(model):
    with torch.device("meta"):
        return MODELS.build(model)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_builds(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config(str(path))
    assert cfg.custom_imports.imports == ["cityseg_ext.plugin"] and cfg.default_scope == "mmseg"
    for name in ("train_pipeline", "test_pipeline", "tta_pipeline"):
        for transform in cfg[name]:
            TRANSFORMS.build(transform)
    build(cfg.model)
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_its_image_size_is_the_same_everywhere(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config(str(path))
    again = load_config(str(path), image_size=tuple(cfg.image_size))  # writes it into every place that has one
    for name in ("model", "train_pipeline", "test_pipeline", "tta_pipeline", "train_dataloader", "test_dataloader"):
        assert cfg[name] == again[name], name


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("deeplabv3_focaldice", "deeplabv3_r50-d8"),
        ("deeplabv3_ce", "deeplabv3_r50-d8"),
        ("deeplabv3plus_focaldice", "deeplabv3plus_r50-d8"),
        ("unet_ce", "fcn_unet_s5-d16"),
        ("unet_focaldice", "fcn_unet_s5-d16"),
        ("unet_pairs_256", "fcn_unet_s5-d16"),
    ],
)
def test_weights_are_named_as_in_mmseg(name, base, monkeypatch):
    monkeypatch.chdir(ROOT)
    theirs = Config.fromfile(MMSEG_MODELS / f"{base}.py").model
    ours = load_config(f"configs/{name}.py").model
    for head in ("decode_head", "auxiliary_head"):
        theirs[head].num_classes = ours[head].num_classes  # mmseg's UNet is set up for two classes of tissue
    assert weights(build(ours)) == weights(build(theirs))


def test_no_config_names_classes_colours_or_void():
    for path in (ROOT / "configs").rglob("*.py"):
        text = path.read_text()
        assert "palette" not in text and "classes=[" not in text and "classes=(" not in text
