"""A planted payload does not run, wherever a file of weights can be named; with `trust` alone it does."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from conftest import ROOT, TINY
from hostile import poison

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.export import export
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.apis.publish import publish, read_published_config
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.apis.runs import train
from cityseg_ext.apis.segmentor import build_segmentor
from cityseg_ext.apis.submission import make_submission


def _config(data_root, work_dir, **options):
    return load_config(
        str(ROOT / "configs" / "deeplabv3_r18_focaldice.py"),
        data_root=str(data_root),
        work_dir=str(work_dir),
        image_size=(64, 128),
        batch_size=2,
        num_epochs=1,
        num_workers=0,
        cfg_options=TINY | options,
    )


@pytest.fixture(scope="module")
def weights():
    return build_segmentor(_config("data", "work")).state_dict()


@pytest.fixture
def evil(weights, tmp_path):
    return poison(tmp_path / "evil ü.pth", tmp_path / "ran", state_dict=weights, meta=dict(epoch=0, iter=0))


@pytest.fixture
def config(tiny_city, tmp_path, monkeypatch):
    monkeypatch.setattr("mmengine.runner.loops.EpochBasedTrainLoop.run_iter", lambda *_: pytest.fail("a step was made"))
    monkeypatch.setattr("mmengine.config.Config.pretty_text", "")  # takes longer than all the rest
    return partial(_config, tiny_city, tmp_path / "work")


def _resume_auto(config, evil):
    cfg = config()
    (work := evil.parent / "work").mkdir()
    shutil.copy(evil, work / "epoch_1.pth")
    (work / "last_checkpoint").write_text(str(work / "epoch_1.pth"))
    train(cfg, resume="auto")


def _init(evil):
    return dict(_delete_=True, type="Pretrained", checkpoint=str(evil))


WAYS_IN = {
    "load_from": lambda config, evil: train(config(load_from=str(evil))),
    "resume": lambda config, evil: train(config(), resume=str(evil)),
    "resume auto": _resume_auto,
    "backbone": lambda config, evil: train(config(**{"model.backbone.init_cfg": _init(evil)})),
    "head": lambda config, evil: train(config(**{"model.decode_head.init_cfg": _init(evil)})),
    "model": lambda config, evil: train(config(**{"model.init_cfg": _init(evil)})),
    "model.pretrained": lambda config, evil: train(config(**{"model.pretrained": str(evil)})),
    "--pretrained": lambda config, evil: load_config(config().filename, pretrained=str(evil)),
    "test": lambda config, evil: run_test(config(), str(evil)),
    "export": lambda config, evil: export(config(), str(evil), format="torch"),
    "publish": lambda config, evil: publish(config(), str(evil), evil.parent / "out"),
    "Predictor": lambda config, evil: Predictor(config(), str(evil)),
    "Predictor without a config": lambda config, evil: Predictor(None, str(evil)),
    "submit": lambda config, evil: make_submission(config(), str(evil), evil.parent / "out", "val"),
    "read_published_config": lambda config, evil: read_published_config(str(evil)),
}
"""Every way to hand a local file to this package; a new tool that reads checkpoints belongs here too."""


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_payload_does_not_run(way, config, evil, tmp_path):
    with pytest.raises(ValueError, match="nothing was loaded.*can run code") as caught:
        WAYS_IN[way](config, evil)
    assert not (tmp_path / "ran").exists()
    assert ("epoch_1.pth" if way == "resume auto" else "evil ü.pth") in str(caught.value)


@pytest.mark.parametrize("way", ["load_from", "resume"])
def test_a_file_that_is_replaced_after_the_check(way, config, evil, tmp_path, monkeypatch):
    # It was harmless then, and whole.
    monkeypatch.setattr("cityseg_ext.apis.resume.read_checkpoint", lambda *_, **__: None)
    monkeypatch.setattr("cityseg_ext.apis.resume._damage", lambda _: None)
    with pytest.raises(ValueError, match="evil ü.pth.*nothing was loaded"):
        WAYS_IN[way](config, evil)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def server(evil, monkeypatch):
    """A site that offers the file; downloads are kept beside it."""
    monkeypatch.setenv("TORCH_HOME", str(evil.parent / "hub"))
    shutil.copy(evil, evil.parent / "evil.pth")
    handler = partial(SimpleHTTPRequestHandler, directory=evil.parent)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/evil.pth"
        server.shutdown()


@pytest.mark.parametrize("field", ["load_from", "model.pretrained"])
def test_a_download_does_not_run(field, config, server, tmp_path):
    with pytest.raises(ValueError, match="nothing was loaded"):
        train(config(**{field: server}))
    assert not (tmp_path / "ran").exists()
    assert list((tmp_path / "hub").rglob("evil.pth"))


TRUSTED = {
    "load_from": lambda config, evil: train(config(load_from=str(evil)), trust=True),
    "test": lambda config, evil: run_test(config(), str(evil), trust=True),
    "publish": lambda config, evil: publish(config(), str(evil), evil.parent / "out", trust=True),
    "Predictor": lambda config, evil: Predictor(config(), str(evil), trust=True),
}


@pytest.mark.parametrize("way", TRUSTED)
def test_a_trusted_file_is_unpickled(way, config, evil, tmp_path):
    try:
        TRUSTED[way](config, evil)
    except pytest.fail.Exception:
        assert way == "load_from"  # it got as far as the first step
    assert (tmp_path / "ran").exists()


def test_trust_is_for_the_checkpoint_alone(config, evil, tmp_path):
    harmless = tmp_path / "harmless.pth"
    torch.save(torch.load(evil, weights_only=False)["state_dict"], harmless)
    (tmp_path / "ran").unlink()
    with pytest.raises(ValueError, match="evil ü.pth.*nothing was loaded"):
        train(config(**{"load_from": str(harmless), "model.pretrained": str(evil)}), trust=True)
    assert not (tmp_path / "ran").exists()


def test_a_test_does_not_resume(config, weights, tmp_path):
    """A config that a resumed run has written says so; mmengine would load the latest checkpoint over ours."""
    for name, factor in (("given", 1), ("latest", 0)):
        torch.save({key: value * factor for key, value in weights.items()}, tmp_path / f"{name}.pth")
    (work := tmp_path / "work").mkdir()
    (work / "last_checkpoint").write_text(str(tmp_path / "latest.pth"))
    plain = run_test(config(), str(tmp_path / "given.pth")).metrics
    assert run_test(config(resume=True), str(tmp_path / "given.pth")).metrics == plain
