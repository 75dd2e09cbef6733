"""Manifests, and whole trainings that are stopped, resumed and made again through the command line's functions."""

import json
import logging
import os
import signal

import pytest
import torch
from conftest import ROOT, TINY
from toy_runs import SignalAt

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.manifest import MANIFEST, config_of, data_fingerprint, read_manifest
from cityseg_ext.apis.runs import train


@pytest.fixture
def config(tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setattr("cityseg_ext.apis.runs._draw_curves", lambda _: None)

    def make(folder, path="configs/deeplabv3_r18_focaldice.py", hooks=(), **options):
        return load_config(
            str(path),
            data_root=str(tiny_city),
            work_dir=str(tmp_path / folder),
            image_size=(32, 64),
            batch_size=2,
            num_epochs=2,
            num_workers=0,
            cfg_options=TINY | dict(custom_hooks=list(hooks)),
            **options,
        )

    return make


def weights(result):
    return torch.load(result.work_dir / "epoch_2.pth", weights_only=False)["state_dict"]  # our own file


def test_a_run_is_made_again_from_its_manifest(config, tmp_path):
    """Deterministic, stopped in the middle, resumed, and again from its manifest: the same weights, bit for bit."""
    options = dict(deterministic=True, seed=5, weighted_sampler=True)
    stop = dict(type=SignalAt.__name__, step=3, number=int(signal.SIGTERM))
    try:
        with pytest.raises(SystemExit):
            train(config("work", hooks=[stop], **options), command="one")
        resumed = train(config("work", **options), resume="auto", command="two")
        path = tmp_path / "work" / MANIFEST
        again = train(config("again", path), command="three")
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(resumed).items())
    manifest = read_manifest(path)
    assert manifest["command"] == "one" and manifest["seed"] == 5 and len(manifest["data"]["files"]) == 64
    (later,) = manifest["resumed"]
    assert later["command"] == "two" and later["checkpoint"].endswith("latest.pth")
    assert str(tmp_path / "work") + "_rerun" == config_of(path).work_dir
    assert read_manifest(tmp_path / "again" / MANIFEST)["data"] == manifest["data"]


def test_differences_are_told(config, tmp_path, tiny_city, caplog):
    cfg = config("work")
    manifest = dict(config_text=cfg.pretty_text, config="x.py", seed=0, commit="abc", versions=dict(torch="0.1"))
    manifest |= dict(data=dict(files="other"), hardware=dict(device="a GPU"), parallel=dict(threads=512, processes=3))
    path = tmp_path / "old.json"
    path.write_text(json.dumps(manifest))
    messages = []
    caplog.set_level(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cityseg_ext.apis.manifest.print_log", lambda message, **_: messages.append(message))
        config("again", path)
    told = " ".join(messages)
    for part in (
        "commit abc",
        "torch 0.1; here it is",
        "device a GPU",
        "threads 512",
        "processes 3; here it is 1",
        "data files other",
    ):
        assert part in told
    for code in ("model = __import__('os').getcwd()", "model = dict(type='os.getcwd')", "import os", "a.b = 1"):
        path.write_text(json.dumps(manifest | dict(config_text=code)))
        with pytest.raises(ValueError, match="old.json"):
            config("again", path)
    for text in ("[]", "{}", "nothing", '{"config_text": 3, "seed": 0}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="old.json' to be the manifest of a training run"):
            config("again", path)


def test_the_fingerprint_is_of_names_and_sizes(config, tiny_city, tmp_path):
    before = data_fingerprint(config("work"))
    label = next(tiny_city.rglob("train/**/*color.png"))
    content = label.read_bytes()
    os.utime(label)  # a copy has another time
    assert data_fingerprint(config("work")) == before
    label.write_bytes(content + b"\0")
    assert data_fingerprint(config("work")) != before
    label.write_bytes(content)
    cfg = config("work")
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[name].dataset.data_root = str(tmp_path / "nowhere")
    assert data_fingerprint(cfg) is None
