"""Every experiment trains, validates, resumes, is tested and draws, as its config says, on tiny synthetic scenes."""

import json
import math

import pytest
import torch
from conftest import ROOT
from mmseg.registry import MODELS

from cityseg_ext.apis.checkpoint import read_checkpoint
from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.curves import plot_curves
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.apis.runs import train

UNET = {
    "model.backbone.base_channels": 4,
    "model.decode_head.in_channels": 4,
    "model.decode_head.channels": 4,
    "model.auxiliary_head.in_channels": 8,
    "model.auxiliary_head.channels": 4,
}
RESNET = {
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.decode_head.in_channels": 256,
    "model.decode_head.channels": 8,
    "model.auxiliary_head.in_channels": 128,
    "model.auxiliary_head.channels": 8,
}
CONVNEXT = {
    "model.backbone.arch": dict(_delete_=True, depths=(1, 1, 2, 1), channels=(8, 16, 24, 32)),
    "model.decode_head.in_channels": 32,
    "model.decode_head.channels": 8,
    "model.auxiliary_head.in_channels": 24,
    "model.auxiliary_head.channels": 8,
}
V3PLUS = RESNET | {"model.decode_head.c1_in_channels": 32, "model.decode_head.c1_channels": 4}
NARROW = {
    "deeplabv3_focaldice": RESNET,
    "deeplabv3_ce": RESNET,
    "deeplabv3_r101_focaldice": RESNET,
    "deeplabv3_convnext_focaldice": CONVNEXT,
    "deeplabv3_balanced": RESNET,
    "deeplabv3plus_focaldice": V3PLUS,
    "deeplabv3plus_balanced": V3PLUS,
    "deeplabv3plus_r50_80k": V3PLUS,
    "unet_ce": UNET,
    "unet_focaldice": UNET,
    "unet29_128": UNET,
}
"""The full configs, with fewer channels in each layer."""
STEPS = 2  # of an epoch


pytestmark = pytest.mark.usefixtures("quick")


def is_iteration_based(name):
    return name.endswith("80k")


def config(name, data_root, work_dir, epochs, pretrained, **options):
    return load_config(
        f"configs/{name}.py",
        data_root=str(data_root),
        work_dir=str(work_dir),
        image_size=(48, 80),
        batch_size=2,
        num_workers=0,
        pretrained=pretrained,
        **(dict(num_iters=STEPS * epochs) if is_iteration_based(name) else dict(num_epochs=epochs)),
        cfg_options=NARROW[name] | options,
    )


@pytest.mark.parametrize("name", NARROW)
def test_the_whole_way(name, tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def epochs(number):
        pretrained = "none" if name.startswith("deeplab") else None
        return config(name, tiny_city, tmp_path / "work", number, pretrained)

    assert train(epochs(1)).checkpoint.is_file()
    second = train(epochs(2), resume="auto")
    (line,) = [row for row in map(json.loads, second.scalars.read_text().splitlines()) if "mDice" in row]
    assert line["step"] == 2 * STEPS and math.isfinite(line["val/loss"])
    # The last one: which is best is chance.
    last = f"iter_{2 * STEPS}.pth" if is_iteration_based(name) else "epoch_2.pth"
    metrics = run_test(epochs(2), str(tmp_path / "work" / last), str(tmp_path / "show")).metrics
    assert metrics["mIoU"] == pytest.approx(line["mIoU"], rel=1e-6)
    assert metrics["aAcc"] == pytest.approx(line["aAcc"], rel=1e-6)
    assert len(list((tmp_path / "show").rglob("*.png"))) == 3
    assert plot_curves([second.scalars], tmp_path / "curves.png").picture.is_file()


@pytest.mark.parametrize("name", NARROW)
def test_every_weight_is_trained(name, tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = MODELS.build(config(name, tiny_city, tmp_path, 1, None).model)
    features = model.extract_feat(torch.randn(2, 3, 64, 96))
    (model.decode_head(features).square().sum() + model.auxiliary_head(features).square().sum()).backward()
    # Several GPUs wait for the gradient of every weight that is not frozen.
    assert [key for key, weight in model.named_parameters() if weight.requires_grad and weight.grad is None] == []


@pytest.mark.parametrize("name", [name for name in NARROW if name.startswith("deeplab")])
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_it_starts_from_public_weights(name, prefix, tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    scratch = config(name, tiny_city, tmp_path / "work", 1, "none")
    source = MODELS.build(scratch.model.backbone).state_dict()
    # Public classifiers normalise their last features only, and have a head.
    source = {key: value for key, value in source.items() if not key.startswith(("norm0", "norm1", "norm2"))}
    head = {"head.fc.weight": torch.zeros(5, 5)}
    path = tmp_path / "classifier.pth"
    torch.save(dict(state_dict={f"{prefix}{key}": value for key, value in source.items()} | head), path)
    still = {"optim_wrapper.optimizer.lr": 0.0, "param_scheduler": []}
    trained = train(config(name, tiny_city, tmp_path / "work", 1, str(path), **still)).checkpoint
    state = read_checkpoint(trained)["state_dict"]
    for key, value in source.items():
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(state[f"backbone.{key}"], value, rtol=0, atol=0, msg=key)
