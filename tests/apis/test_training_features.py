"""What a config switches on with one line, each tried once; the lines are those of docs/training.md."""

import json
import math

import pytest
import torch
from conftest import ROOT, TINY
from mmengine.optim import OptimWrapper
from torch import nn

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.apis.runs import train
from cityseg_ext.losses import FocalDiceLoss

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def run(tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def start(epochs=1, resume=None, batch_size=2, **fields):
        options = {
            name: fields.pop(name) for name in ("amp", "class_weight", "deterministic", "seed") if name in fields
        }
        cfg = load_config(
            "configs/deeplabv3_r18_focaldice.py",
            data_root=str(tiny_city),
            work_dir=str(tmp_path / "work"),
            image_size=(64, 128),
            batch_size=batch_size,
            num_epochs=epochs,
            num_workers=0,
            cfg_options=TINY | fields,
            **options,
        )
        return cfg, train(cfg, resume)

    return start


def lines_of(result):
    return [json.loads(line) for line in result.scalars.read_text().splitlines()]


def checkpoint_of(result):
    return torch.load(result.checkpoint, weights_only=False)  # our own file, with mmengine's message hub in it


def test_ema_weights_are_validated_and_saved(run):
    hook = [dict(type="EMAHook", momentum=0.5)]
    cfg, result = run(epochs=2, custom_hooks=hook)
    saved = checkpoint_of(result)
    (best,) = [line["val/loss"] for line in lines_of(result) if line.get("step") == 4 and "mDice" in line]
    assert {"state_dict", "ema_state_dict"} <= saved.keys()
    # mmengine saves the averaged weights as `state_dict`: test and inference need to know nothing.
    cfg.custom_hooks = []
    assert run_test(cfg, str(result.work_dir / "epoch_2.pth")).metrics["val/loss"] == pytest.approx(best, rel=1e-5)
    _, resumed = run(epochs=3, resume="auto", custom_hooks=hook)
    assert [line["step"] for line in lines_of(resumed) if "mDice" in line] == [6]


def test_bfloat16(run):
    cfg, result = run(amp="bf16")
    losses = [line["loss"] for line in lines_of(result) if "loss" in line]
    assert cfg.optim_wrapper.type == "BFloat16OptimWrapper" and all(map(math.isfinite, losses))
    assert {value.dtype for value in checkpoint_of(result)["state_dict"].values()} == {torch.float32, torch.int64}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 training needs a CUDA GPU")
def test_float16(run):
    cfg, result = run(amp="fp16")
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert all(math.isfinite(line["loss"]) for line in lines_of(result) if "loss" in line)


def test_channels_last(run):
    losses = []
    for fields in ({}, {"custom_hooks": [dict(type="ChannelsLastHook")]}):
        _, result = run(seed=1, **fields)
        losses.append([line["loss"] for line in lines_of(result) if "loss" in line])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_compile(run):
    losses = []
    for fields in ({}, {"compile": dict(backend="eager")}):  # the default backend needs a C++ compiler
        _, result = run(seed=1, **fields)
        losses.append([line["loss"] for line in lines_of(result) if "loss" in line])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_deterministic_runs_are_equal(run):
    try:
        states = [checkpoint_of(run(deterministic=True, seed=3)[1])["state_dict"] for _ in range(2)]
    finally:
        torch.use_deterministic_algorithms(False)  # mmengine sets it for the whole process
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())


def test_the_best_checkpoint_by_any_metric(run):
    fields = {"default_hooks.checkpoint.save_best": "IoU/road", "default_hooks.checkpoint.rule": "greater"}
    _, result = run(**fields)
    assert result.checkpoint.name == "best_IoU_road_epoch_1.pth"


def test_class_weights_by_name_are_counted_and_kept_in_the_config(run, tmp_path):
    cfg, result = run(class_weight="enet", **{"train_dataloader.dataset.max_images": 3})
    kept = load_config(str(result.work_dir / "deeplabv3_r18_focaldice.py")).model.decode_head.loss_decode.class_weight
    assert kept == json.loads((result.work_dir / "dataset" / "class_weights_enet.json").read_text())
    assert cfg.model.decode_head.loss_decode.class_weight == "enet"  # the caller's config stays as it is
    last = [line["val/loss"] for line in lines_of(result) if "mDice" in line][-1]
    assert run_test(cfg, str(result.checkpoint)).metrics["val/loss"] == pytest.approx(last, rel=1e-6)
    cfg.work_dir = str(tmp_path / "elsewhere")
    assert run_test(cfg, str(result.checkpoint)).metrics["val/loss"] != pytest.approx(last, rel=1e-3)


def test_batches_of_one_are_refused_where_they_cannot_work(run):
    with pytest.raises(ValueError, match=r"batch_size` to be at least 2 for the ASPP pooling of decode_head.* got 1"):
        run(batch_size=1)
    with pytest.raises(ValueError, match=r"drop_last` to be True for the ASPP pooling.* last of 2 batches has one"):
        run(batch_size=3, **{"train_dataloader.drop_last": False})
    group_norm = dict(_delete_=True, type="GN", num_groups=4)
    _, result = run(batch_size=1, **{"model.decode_head.norm_cfg": group_norm})
    assert result.checkpoint.is_file()


def test_syncbn_becomes_batchnorm_in_one_process(run):
    norm = dict(type="SyncBN", requires_grad=True)
    fields = {f"model.{part}.norm_cfg": norm for part in ("backbone", "decode_head", "auxiliary_head")}
    cfg, result = run(**fields)
    assert 0 <= run_test(cfg, str(result.checkpoint)).metrics["mDice"] <= 1


@pytest.mark.parametrize("pool", ["image", "batch"])
def test_four_accumulated_batches_of_one_update_as_one_of_four(pool):
    """Equal without BatchNorm, void pixels and pooling over the batch: what these force is not more than this."""
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 9, 7), torch.randint(5, (4, 9, 7))
    start = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 5, 1))
    after = []
    for batch in (4, 1):
        model = nn.Sequential(*start)
        model.load_state_dict({key: value.clone() for key, value in start.state_dict().items()})
        before = {key: value.clone() for key, value in model.state_dict().items()}
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=4 // batch)
        loss = FocalDiceLoss(dice_pool=pool)
        for image, label in zip(images.split(batch), labels.split(batch), strict=True):
            wrapper.update_params(loss(model(image), label))
        after.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
        start.load_state_dict(before)
    difference = (after[0] - after[1]).abs().max().item()
    assert difference < 1e-6 if pool == "image" else difference > 1e-6
