"""Every shipped config builds, and its model has the names of mmseg's own."""

import json
from pathlib import Path

import mmseg
import pytest
import torch
from conftest import ROOT, TINY
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmseg.registry import DATASETS, MODELS, TRANSFORMS

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.runs import train

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
    ("name", "base", "backbone"),
    [
        ("deeplabv3_focaldice", "deeplabv3_r50-d8", {}),
        ("deeplabv3_ce", "deeplabv3_r50-d8", {}),
        ("deeplabv3_r101_focaldice", "deeplabv3_r50-d8", dict(depth=101)),
        ("deeplabv3plus_focaldice", "deeplabv3plus_r50-d8", {}),
        ("deeplabv3_balanced", "deeplabv3_r50-d8", {}),
        ("deeplabv3plus_balanced", "deeplabv3plus_r50-d8", {}),
        ("deeplabv3plus_r50_80k", "deeplabv3plus_r50-d8", {}),
        ("deeplabv3plus_camvid", "deeplabv3plus_r50-d8", {}),
        ("unet_ce", "fcn_unet_s5-d16", {}),
        ("unet_focaldice", "fcn_unet_s5-d16", {}),
        ("unet_pairs_256", "fcn_unet_s5-d16", {}),
        ("unet29_128", "fcn_unet_s5-d16", {}),
    ],
)
def test_weights_are_named_as_in_mmseg(name, base, backbone, monkeypatch):
    monkeypatch.chdir(ROOT)
    theirs = Config.fromfile(MMSEG_MODELS / f"{base}.py").model
    theirs.pretrained = None
    theirs.backbone.update(backbone)
    ours = load_config(f"configs/{name}.py", unet_width=64 if name == "unet29_128" else None).model
    for head in ("decode_head", "auxiliary_head"):
        theirs[head].num_classes = ours[head].num_classes  # mmseg's UNet is set up for two classes of tissue
    assert weights(build(ours)) == weights(build(theirs))


def test_convnext_decays_weights_but_no_vectors(monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config("configs/deeplabv3_convnext_focaldice.py")
    model = build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decayed = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert {group["lr"] for group in groups} == {1e-4}
    for name, parameter in model.named_parameters():
        vector = name.endswith(("bias", "gamma")) or ".norm" in name or ".bn." in name or parameter.ndim == 1
        assert decayed.pop(id(parameter)) == (0 if vector else 0.05), name
    assert not decayed


@pytest.mark.parametrize(
    ("name", "classes"), [("deeplabv3_r101_focaldice", 19), ("deeplabv3_convnext_focaldice", 19), ("unet29_128", 29)]
)
def test_models_have_the_classes_of_their_data(name, classes, tiny_city, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config(f"configs/{name}.py", data_root=str(tiny_city))
    assert {cfg.model[head].num_classes for head in ("decode_head", "auxiliary_head")} == {classes}
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert len(DATASETS.build(loader.dataset).metainfo["classes"]) == classes


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("deeplabv3plus_r18_camvid", {"model.decode_head.c1_in_channels": 8}),
        (
            "deeplabv3plus_camvid",
            {
                "model.decode_head.in_channels": 256,
                "model.decode_head.c1_in_channels": 32,
                "model.auxiliary_head.in_channels": 128,
            },
        ),
    ],
)
def test_the_camvid_configs_train(name, fields, tiny_city, tmp_path, monkeypatch, quick):
    monkeypatch.chdir(ROOT)
    cfg = load_config(
        f"configs/{name}.py",
        data_root=str(tiny_city),
        work_dir=str(tmp_path),
        image_size=(64, 96),
        batch_size=2,
        num_epochs=1,
        num_workers=0,
        cfg_options={**TINY, "model.decode_head.c1_channels": 4, **fields},
    )
    result = train(cfg)
    log = [json.loads(line) for line in result.scalars.read_text().splitlines()]
    assert [line["step"] for line in log if "decode.dice" in line] == [1, 2]
    assert 0 < log[-1]["mDice"] < 1
    saved = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    weight = "backbone.stem.0.weight"
    assert (saved["state_dict"][weight] != saved["ema_state_dict"][f"module.{weight}"]).any()  # the average is saved


def test_no_config_names_classes_colours_or_void():
    for path in (ROOT / "configs").rglob("*.py"):
        text = path.read_text()
        assert "palette" not in text and "classes=[" not in text and "classes=(" not in text
