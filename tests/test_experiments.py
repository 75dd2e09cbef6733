"""Every experiment trains, validates, resumes, is tested and draws, as its config says, on tiny synthetic scenes."""

import json
import math

import pytest
from conftest import ROOT

from cityseg_ext.apis.config import load_config
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
NARROW = {
    "deeplabv3_focaldice": RESNET,
    "deeplabv3_ce": RESNET,
    "deeplabv3plus_focaldice": RESNET | {"model.decode_head.c1_in_channels": 32, "model.decode_head.c1_channels": 4},
    "unet_ce": UNET,
    "unet_focaldice": UNET,
}
"""The full configs, with fewer channels in each layer."""


@pytest.mark.parametrize("name", NARROW)
def test_the_whole_way(name, tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def config(epochs):
        return load_config(
            f"configs/{name}.py",
            data_root=str(tiny_city),
            work_dir=str(tmp_path / "work"),
            image_size=(48, 80),
            batch_size=2,
            num_epochs=epochs,
            num_workers=0,
            pretrained="none" if name.startswith("deeplab") else None,
            cfg_options=NARROW[name],
        )

    assert train(config(1)).checkpoint.is_file()
    second = train(config(2), resume="auto")
    (line,) = [row for row in map(json.loads, second.scalars.read_text().splitlines()) if "mDice" in row]
    assert line["step"] == 4 and math.isfinite(line["val/loss"])
    metrics = run_test(config(2), str(second.checkpoint), str(tmp_path / "show"))
    assert metrics["mIoU"] == pytest.approx(line["mIoU"], rel=1e-6)
    assert len(list((tmp_path / "show").rglob("*.png"))) == 3
