import os
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from hostile import Payload
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from torch import nn

from cityseg_ext.apis.checkpoint import backbone_prefix, check_pretrained, load_weights, read_checkpoint, safe_loading


def model(out=2):
    torch.manual_seed(out)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, out, 1))


def test_weights_of_mmengine_checkpoints_load(tmp_path):
    path = str(tmp_path / "epoch_1.pth")
    source = model()
    extras = dict(meta=dict(epoch=np.float64(1.5)), message_hub=dict(log=HistoryBuffer([1, 2], [1, 1])))
    torch.save(dict(state_dict={f"module.{key}": value for key, value in source.state_dict().items()}, **extras), path)
    target = model(2)
    nn.init.zeros_(target[0].weight)
    load_weights(target, path)
    for key, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[key], value)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = str(tmp_path / "other.pth")
    torch.save(dict(state_dict=model(5).state_dict()), path)
    with pytest.raises(ValueError, match=r"other.pth.*2 have other shapes \(1.bias \(5,\) instead of \(2,\)"):
        load_weights(model(2), path)
    torch.save(dict(state_dict={"0.weight": torch.zeros(4, 3, 1, 1), "x": torch.zeros(1)}), path)
    with pytest.raises(ValueError, match=r"3 weights are missing \(0.bias.*1 are unknown \(x\)"):
        load_weights(model(2), path)


class Getattr:
    """What an allow-listed getattr would give: the module behind a class."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, "__init__")


@pytest.mark.parametrize("payload", ["system", "getattr"])
def test_a_payload_does_not_run(tmp_path, payload):
    path, mark = str(tmp_path / "evil.pth"), tmp_path / "ran"
    evil = Payload(mark) if payload == "system" else Getattr()
    torch.save(dict(state_dict=model().state_dict(), meta=evil), path)
    with pytest.raises(ValueError, match="evil.pth.*nothing was loaded.*can run code"):
        load_weights(model(), path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "one that is truncated or no checkpoint at all"),
        (b"model = dict()", "another kind of file. Where both are given, the config comes before the checkpoint"),
        (None, "one that is truncated"),
    ],
)
def test_broken_files_are_named(tmp_path, data, found):
    path = tmp_path / "broken.pth"
    torch.save(dict(state_dict=model().state_dict()), path)
    path.write_bytes(path.read_bytes()[:500] if data is None else data)
    with pytest.raises(ValueError, match=f"broken.pth.*but got {found}"):
        read_checkpoint(str(path))


def test_missing_and_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match="`checkpoint` to be an existing file, but got 'no.pth'"):
        load_weights(model(), "no.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="'state_dict' of tensors, but got a list"):
        load_weights(model(), str(tmp_path / "list.pth"))


class Backbone(BaseModule):
    def __init__(self, **init):
        super().__init__(init_cfg=init and dict(type="Pretrained", **init))
        self.conv = nn.Conv2d(3, 4, 1)


def test_a_backbone_starts_from_weights_that_fit(tmp_path):
    path, source = str(tmp_path / "weights.pth"), Backbone().state_dict()
    extra = {"head.weight": torch.zeros(1)}
    for prefix in (None, "backbone."):
        torch.save({f"{prefix or ''}{key}": value for key, value in source.items()} | extra, path)
        assert backbone_prefix(path) == prefix
        backbone = Backbone(checkpoint=path, prefix=prefix)
        check_pretrained(backbone)
        backbone.init_weights()
        torch.testing.assert_close(dict(backbone.state_dict()), dict(source))
    check_pretrained(Backbone())
    check_pretrained(Backbone(checkpoint="open-mmlab://resnet50_v1c"))


@pytest.mark.parametrize("weights", [dict(other=torch.zeros(1)), {"conv.weight": torch.zeros(4, 5, 1, 1)}])
def test_weights_of_which_none_fits_are_refused(tmp_path, weights):
    path = str(tmp_path / "weights.pth")
    torch.save(weights, path)
    rule = r"weights.pth' to be weights of part, a Backbone, such as conv.weight, "
    with pytest.raises(ValueError, match=rule):
        check_pretrained(nn.ModuleDict(dict(part=Backbone(checkpoint=path))))


def test_backbone_weights_that_are_missing_or_run_code(tmp_path):
    path, mark = str(tmp_path / "evil.pth"), tmp_path / "ran"
    with pytest.raises(FileNotFoundError, match="`model.backbone.init_cfg.checkpoint` to be an existing file"):
        check_pretrained(nn.ModuleDict(dict(backbone=Backbone(checkpoint=path))))
    torch.save(dict(state_dict=Backbone().state_dict(), meta=Payload(mark)), path)
    for check in (backbone_prefix, lambda path: check_pretrained(Backbone(checkpoint=path))):
        with pytest.raises(ValueError, match="evil.pth.*nothing was loaded"):
            check(path)
    assert not mark.exists()


def test_whoever_loads_in_the_block_loads_safely(tmp_path, monkeypatch):
    path, mark = str(tmp_path / "evil.pth"), tmp_path / "ran"
    torch.save(dict(state_dict=model().state_dict(), meta=Payload(mark)), path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # which the user may have set for something else
    with pytest.raises(ValueError, match="Expected `what` to be .*asks for '.*system'; nothing was loaded.*run code"):  # noqa: SIM117
        with safe_loading("what"):
            torch.load(path, weights_only=False)
    assert not mark.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1" and "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    with pytest.raises(UnpicklingError):
        torch.load(path)
    with safe_loading(trust=True), pytest.warns(UserWarning, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD detected"):
        torch.load(path)
    assert mark.exists() and "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_trusted_file_is_read_with_a_warning(tmp_path, monkeypatch):
    path, mark, source = str(tmp_path / "old.pth"), tmp_path / "ran", model()
    torch.save(dict(state_dict=source.state_dict(), meta=Payload(mark)), path)
    target = model(2)
    nn.init.zeros_(target[0].weight)
    with pytest.raises(ValueError, match="old.pth.*nothing was loaded.*--trust-checkpoint"):
        load_weights(target, path)
    assert not mark.exists()
    said = []
    monkeypatch.setattr("cityseg_ext.apis.checkpoint.print_log", lambda message, **_: said.append(message))
    load_weights(target, path, trust=True)
    assert mark.exists() and len(said) == 1 and path in said[0] and "runs its code" in said[0]
    torch.testing.assert_close(target[0].weight, source[0].weight)
