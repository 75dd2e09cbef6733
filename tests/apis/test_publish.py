"""Published checkpoints: whole, plain, without what is private, and usable alone."""

import copy
import hashlib
import json
import os
import re

import pytest
import torch
from conftest import ROOT, TINY

from cityseg_ext.apis.checkpoint import load_weights
from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.publish import is_published, publish, read_published_config
from cityseg_ext.apis.segmentor import build_segmentor
from cityseg_ext.labels import CITYSCAPES_19

SECRET = "/home/jane doe/secret project"


@pytest.fixture
def cfg():
    options = {
        "vis_backends": [dict(type="LocalVisBackend"), dict(type="WandbVisBackend", init_kwargs={"entity": "jane"})]
    }
    options |= {"model.backbone.init_cfg": dict(_delete_=True, type="Pretrained", checkpoint=f"{SECRET}/start.pth")}
    options |= {"load_from": f"{SECRET}/other.pth", "custom_hooks": [dict(type="EMAHook", note=f"{SECRET}/x.json")]}
    return load_config(
        str(ROOT / "configs" / "deeplabv3_r18_focaldice.py"),
        data_root=f"{SECRET}/data",
        work_dir=f"{SECRET}/work",
        image_size=(64, 128),
        cfg_options=TINY | options,
    )


@pytest.fixture
def work(cfg, tmp_path):
    """A work dir with a checkpoint as mmengine writes it, and the log of its validation."""
    torch.manual_seed(0)
    model = build_segmentor(cfg)
    wide = torch.zeros(1000, dtype=torch.float32)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    name = "module.decode_head.conv_seg.bias"
    wide[: len(state[name])] = state[name]
    state[name] = wide[: len(state[name])]  # a view, as of flattened parameters
    folder = tmp_path / "a work dir"
    log = folder / "20260102_030405" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    rows = [
        dict(iter=10, epoch=1, loss=1.0, step=10),
        {"mDice": 0.25, "Dice/road": 0.5, "IoU/road": 0.4, "step": 10},
        dict(iter=20, epoch=2, loss=1.0, step=20),
        {"mDice": 0.75, "Dice/road": 0.9, "IoU/road": 0.8, "step": 20},
    ]
    log.write_text("\n".join(map(json.dumps, rows)))
    meta = dict(epoch=1, iter=10, seed=3, time="20260102_040506", cfg=f"import os\nwork_dir = '{SECRET}'")
    rest = dict(optimizer=dict(state=torch.zeros(10000)), param_schedulers=[{}], ema_state_dict={"a": torch.zeros(9)})
    torch.save(dict(meta=meta, state_dict=state, **rest), folder / "epoch_1.pth")
    return model, folder


def test_published_and_used_alone(cfg, work, tmp_path):
    model, folder = work
    result = publish(cfg, str(folder / "epoch_1.pth"), tmp_path / "out", licence="CC BY 4.0")
    data = result.checkpoint.read_bytes()
    assert result.sha256 == hashlib.sha256(data).hexdigest()
    assert result.checkpoint.name == f"deeplabv3_r18_focaldice-{result.sha256[:8]}.pth"
    for text in (SECRET, "jane", "secret"):
        assert text.encode() not in data and text not in result.card.read_text(), text
    loaded = torch.load(result.checkpoint, weights_only=True)
    assert set(loaded) == {"meta", "state_dict"}
    meta = loaded["meta"]
    assert meta["dataset_meta"] == CITYSCAPES_19.metainfo and meta["taxonomy"] == "cityscapes19"
    weights = dict(weights="moving average (EMAHook)")
    assert meta["training"] == dict(epoch=1, iteration=10, seed=3, date="2026-01-02") | weights
    assert meta["scores"]["values"]["mDice"] == 0.25  # of its own iteration, not the later one
    assert result.checkpoint.stat().st_size < 1.2 * sum(v.nbytes for v in loaded["state_dict"].values()) + 60_000
    # The config alone builds the same model, from numbers as they were: tuples are tuples.
    assert is_published(str(result.checkpoint)) and not is_published(str(folder / "epoch_1.pth"))
    again = read_published_config(str(result.checkpoint))
    assert again.model.backbone.strides == cfg.model.backbone.strides and again.model.backbone.init_cfg is None
    assert again.test_pipeline == cfg.test_pipeline and again.vis_backends == [dict(type="LocalVisBackend")]
    rebuilt = build_segmentor(again)
    load_weights(rebuilt, str(result.checkpoint))
    torch.testing.assert_close(dict(rebuilt.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    parts = [[(name, type(part)) for name, part in either.named_modules()] for either in (rebuilt, model)]
    assert parts[0] == parts[1]
    card = result.card.read_text()
    for line in (f"`{result.sha256}`", "| mean Dice | 0.2500 |", "| road | 0.5000 | 0.4000 |", "CC BY 4.0", "seed 3"):
        assert line in card


def test_the_same_bytes_again_and_nothing_by_surprise(cfg, work, tmp_path):
    _, folder = work
    checkpoint = str(folder / "epoch_1.pth")
    first = publish(cfg, checkpoint, tmp_path / "out", name="a.b")
    with pytest.raises(FileExistsError, match=r"a.b-.*pth.*--overwrite"):
        publish(cfg, checkpoint, tmp_path / "out", name="a.b")
    assert publish(cfg, checkpoint, tmp_path / "out", name="a.b", overwrite=True).sha256 == first.sha256
    # What is published can be published again, with another name; its scores are not those of some folder.
    second = publish(read_published_config(str(first.checkpoint)), str(first.checkpoint), tmp_path / "out", name="b")
    assert torch.load(second.checkpoint, weights_only=True)["meta"]["scores"] == {}
    assert "None are known." in second.card.read_text()


def test_scores_of_another_checkpoint_are_refused(cfg, work, tmp_path):
    _, folder = work
    (folder / "report").mkdir()
    row = dict(name="road", color=[1, 2, 3], Dice=0.9, IoU=None)
    record = dict(
        format="cityseg_ext.report_record",
        version=1,
        provenance=dict(checkpoint=f"{SECRET}/epoch_1.pth"),
        scores=dict(mDice=0.625, ECE=None),
        classes=[row],
        confusion=[[1]],
        **dict.fromkeys(("boundary", "reliability", "images", "best", "worst"), []),
    )
    file = folder / "report" / "record.json"
    file.write_text(json.dumps(record))
    result = publish(cfg, str(folder / "epoch_1.pth"), tmp_path / "out")
    assert "from the test" in result.card.read_text() and "| mean Dice | 0.6250 |" in result.card.read_text()
    file.write_text(json.dumps(record | dict(provenance=dict(checkpoint="epoch_2.pth"))))
    result = publish(cfg, str(folder / "epoch_1.pth"), tmp_path / "out")
    assert "| mean Dice | 0.2500 |" in result.card.read_text()
    with pytest.raises(ValueError, match="record.json' to be a record of a test of 'epoch_1.pth', but got .*epoch_2"):
        publish(cfg, str(folder / "epoch_1.pth"), tmp_path / "out", record=str(file))


def test_mistakes(cfg, work, tmp_path):
    _, folder = work
    checkpoint = str(folder / "epoch_1.pth")
    with pytest.raises(ValueError, match="`name` to be letters"):
        publish(cfg, checkpoint, tmp_path, name="../a")
    with pytest.raises(ValueError, match="`class_weight` to be numbers, but got 'enet'.*work dir"):
        publish(load_with(cfg, **{"model.decode_head.loss_decode.class_weight": "enet"}), checkpoint, tmp_path)
    with pytest.raises(ValueError, match="of this config's model"):
        publish(load_with(cfg, **{"model.decode_head.channels": 16}), checkpoint, tmp_path)
    with pytest.raises(
        ValueError, match="`custom_hooks.0.priority` to be a plain value, to be published, but got a set"
    ):
        publish(load_with(cfg, custom_hooks=[dict(type="EMAHook", priority={1})]), checkpoint, tmp_path)
    with pytest.raises(ValueError, match="to be a published checkpoint.*Give its config too"):
        read_published_config(checkpoint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a work dir"]


def load_with(cfg, **options):
    changed = copy.deepcopy(cfg)
    changed.merge_from_dict(options)
    return changed


HOSTILE = {
    "a type of another module": {"model.backbone.type": "os.system"},
    "a module as a type": {"model.decode_head.type": "planted"},
    "a scope": {"model.backbone._scope_": "planted"},
    "an import": {"custom_imports": dict(imports=["cityseg_ext.plugin", "planted"])},
    "one import": {"custom_imports": dict(imports="planted")},
    "an import in another form": {"custom_imports": ["planted"]},
    "a default scope": {"default_scope": "planted"},
    "a constructor": {"optim_wrapper.constructor": "os.system"},
    "no name": {"test_pipeline.0.type": ["os.system"]},
    "a hook": {"custom_hooks": [dict(type="planted.Hook")]},
    "a word of mmengine": {"filename": "x.py"},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_config_from_a_stranger_is_data(what, cfg, work, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nHook = dict")
    monkeypatch.syspath_prepend(str(tmp_path))
    _, folder = work
    result = publish(cfg, str(folder / "epoch_1.pth"), tmp_path)
    loaded = torch.load(result.checkpoint, weights_only=True)
    for field, value in HOSTILE[what].items():
        *parents, last = field.split(".")
        node = loaded["meta"]["config"]
        for part in parents:
            node = node[int(part) if part.isdigit() else part]
        node[last] = value
    torch.save(loaded, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="evil.pth' to be a checkpoint whose config has .*can run code"):
        read_published_config(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_every_config_can_be_published_and_read(tmp_path):
    from cityseg_ext.apis.published_config import check_config, config_to_publish

    for path in sorted((ROOT / "configs").glob("*.py")):
        cfg = load_config(str(path))
        for head in ("decode_head", "auxiliary_head"):
            if head in cfg.model:
                cfg.model[head].loss_decode.pop("class_weight", None)
        values, _ = config_to_publish(cfg)
        again = check_config("a.pth", values, "a.py")
        assert again.test_pipeline == cfg.test_pipeline
        assert {**again.model.decode_head} == {**cfg.model.decode_head}
        assert not re.search(r"'/|~", repr(values)) and os.sep + "home" not in repr(values)
