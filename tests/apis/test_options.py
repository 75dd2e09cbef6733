"""Each option of the command line writes the fields that its row in the table names, and refuses what does not fit."""

import argparse
import copy

import pytest
from conftest import ROOT

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.options import OPTIONS

CONFIG = "configs/deeplabv3_focaldice.py"
UNET = "configs/unet_ce.py"
ITERATIONS = "configs/deeplabv3plus_r50_80k.py"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def fields(cfg):
    """Every field of a config by its path."""

    def walk(node, path):
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
        found = {path: node} if not items else {}
        for key, value in items:
            found |= walk(value, f"{path}.{key}".lstrip("."))
        return found

    return walk(cfg.to_dict(), "")


def changes(path, **options):
    """The fields that options change, and their new values."""
    before, after = fields(load_config(path)), fields(load_config(path, **options))
    return {key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        (CONFIG, dict(filter_city=["ulm", "bonn"]), {"train_dataloader.dataset.cities": ["ulm", "bonn"]}),
        (CONFIG, dict(max_images=9), {"train_dataloader.dataset.max_images": 9}),
        (CONFIG, dict(lr=0.01), {"optim_wrapper.optimizer.lr": 0.01}),
        (CONFIG, dict(freeze_stages=0), {"model.backbone.frozen_stages": 0}),
        (CONFIG, dict(grad_accum_steps=4), {"optim_wrapper.accumulative_counts": 4}),
        (CONFIG, dict(seed=3), {"randomness.seed": 3}),
        (CONFIG, dict(deterministic=True), {"randomness.deterministic": True, "env_cfg.cudnn_benchmark": False}),
        (CONFIG, dict(amp="bf16"), {"optim_wrapper.type": "BFloat16OptimWrapper"}),
        (CONFIG, dict(loss="focaldice", num_workers=4), {}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_an_option_changes_its_fields_and_no_others(path, options, expected):
    found = changes(path, **options)
    if "filter_city" in options:  # lists are walked into
        found = {"train_dataloader.dataset.cities": [found[key] for key in sorted(found)]}
    if "loss" in options:
        found = {key: value for key, value in found.items() if not key.endswith(("_weight", "gamma"))}
    assert found == expected


def test_the_loss_keeps_its_factor_and_class_weights():
    model = load_config(CONFIG, loss="ce", class_weight="enet").model
    assert model.decode_head.loss_decode == dict(type="WeightedCrossEntropyLoss", class_weight="enet", loss_weight=1.0)
    assert model.auxiliary_head.loss_decode.loss_weight == 0.4
    weighted = load_config("configs/deeplabv3_ce.py", class_weight="w.json").model.auxiliary_head.loss_decode
    assert weighted == dict(type="WeightedCrossEntropyLoss", class_weight="w.json", loss_weight=0.4)
    assert load_config(CONFIG, class_weight="none").model.decode_head.loss_decode.class_weight is None
    assert load_config(UNET, loss="focaldice").model.decode_head.loss_decode.type == "FocalDiceLoss"


@pytest.mark.parametrize(
    ("path", "scheduler", "kind", "span"),
    [
        (CONFIG, "poly", "PolyLR", (1, 50)),
        (CONFIG, "cosine", "CosineAnnealingLR", (1, 50)),
        (UNET, "cosine", "CosineAnnealingLR", (0, 10)),
        (ITERATIONS, "poly", "PolyLR", (0, 80_000)),
        (CONFIG, "plateau", "ReduceOnPlateauLR", (None, None)),
    ],
)
def test_schedulers_follow_the_warm_up_to_the_end(path, scheduler, kind, span):
    cfg = load_config(path, scheduler=scheduler)
    *warm_up, last = cfg.param_scheduler
    assert (last.type, last.get("begin"), last.get("end")) == (kind, *span)
    assert [item.end for item in warm_up] == ([span[0] or 1] if path == CONFIG else [])
    if kind == "CosineAnnealingLR":
        assert last.T_max == span[1] - span[0]


def test_a_scheduler_lasts_as_long_as_the_epochs_that_are_asked_for():
    assert load_config(CONFIG, scheduler="cosine", num_epochs=7).param_scheduler[-1].end == 7
    assert load_config(ITERATIONS, num_iters=70).param_scheduler[-1].end == 70


def test_iterations_grow_with_accumulation_so_that_updates_stay():
    plain, accumulated = load_config(ITERATIONS), load_config(ITERATIONS, grad_accum_steps=4)
    for cfg, factor in ((plain, 1), (accumulated, 4)):
        assert cfg.train_cfg.max_iters == factor * 80_000
        assert cfg.param_scheduler[-1].end == factor * 80_000
        assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == factor * 8_000
    few = load_config(ITERATIONS, num_iters=10, grad_accum_steps=4)
    assert (few.train_cfg.max_iters, few.train_cfg.val_interval) == (40, 40)


def test_weighted_sampling_is_switched_off_and_on():
    path = "configs/deeplabv3_balanced.py"
    off, on = load_config(path, weighted_sampler=False), load_config(CONFIG, weighted_sampler=True)

    def crops(cfg):
        return [part.type for part in cfg.train_dataloader.dataset.pipeline if "Crop" in part.type]

    assert off.train_dataloader.sampler == dict(type="DefaultSampler", shuffle=True) and crops(off) == ["RandomCrop"]
    assert on.train_dataloader.sampler.type == "ClassBalancedSampler" and crops(on) == ["ClassAwareCrop"]
    assert load_config(ITERATIONS, weighted_sampler=False).train_dataloader.sampler.type == "InfiniteSampler"


def test_mixed_precision(monkeypatch):
    for device, kinds in (
        ("cuda", {"auto": "AmpOptimWrapper", "fp16": "AmpOptimWrapper", "bf16": "BFloat16OptimWrapper"}),
        ("cpu", {"auto": "BFloat16OptimWrapper", "bf16": "BFloat16OptimWrapper"}),
    ):
        monkeypatch.setattr("mmengine.device.utils.DEVICE", device)
        assert {name: load_config(CONFIG, amp=name).optim_wrapper.type for name in kinds} == kinds
    with pytest.raises(ValueError, match="`amp` to be 'bf16' without a CUDA GPU .* but got 'fp16' on device 'cpu'"):
        load_config(CONFIG, amp="fp16")


def test_trackers():
    cfg = load_config(CONFIG, wandb="offline", tensorboard=True, work_dir="work_dirs/mine")
    _, wandb, tensorboard = cfg.visualizer.vis_backends
    assert wandb.init_kwargs == dict(project="cityseg", name="mine", mode="offline")
    assert tensorboard.type == "TolerantTensorboardVisBackend"
    assert [hook.type for hook in cfg.custom_hooks] == ["ValidationPanelsHook"]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (CONFIG, dict(pretrained="none", freeze_stages=2), "`freeze_stages` to be -1 without pretrained.* but got 2"),
        (CONFIG, dict(freeze_stages=5), r"`freeze_stages` to be -1 \(nothing\) to 4, the stages of ResNetV1c"),
        (UNET, dict(freeze_stages=1), "`freeze_stages` to be used with a backbone that has stages.* got UNet"),
        (UNET, dict(weighted_sampler=False), "`no_weighted_sampler` to be used with a config whose .*DefaultSampler"),
        (CONFIG, dict(num_iters=5), "`num_iters` to be used with an iteration-based .*max_epochs=50.* --num-epochs"),
        (ITERATIONS, dict(num_epochs=5), "`num_epochs` to be used with an epoch-based .*--num-iters"),
        ("configs/unet_pairs_256.py", dict(filter_city=["ulm"]), "`filter_city` to be left out for image pairs"),
        (CONFIG, dict(lr=0.0), "`lr` to be above 0, but got 0.0"),
        (CONFIG, dict(scheduler="step"), "`scheduler` to be one of .*'step'"),
        (CONFIG, dict(loss="dice"), "`loss` to be one of .*'dice'"),
        (CONFIG, dict(max_images=0), "`max_images` to be at least 1"),
        (CONFIG, dict(grad_accum_steps=0), "`grad_accum_steps` to be at least 1"),
        (CONFIG, dict(seed=-1), "`seed` to be at least 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_does_not_fit_is_refused_with_the_reason(path, options, message):
    with pytest.raises(ValueError, match=message):
        load_config(path, **options)


@pytest.mark.parametrize(
    "option",
    [
        dict(data_root="d"),
        dict(on_error="skip"),
        dict(filter_city=["ulm"]),
        dict(max_images=3),
        dict(label_source="color"),
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_of_a_data_set_are_refused_for_a_wrapper(tmp_path, option):
    """mmengine would end in a TypeError about an argument that nobody has given it."""
    text = f"_base_ = '{ROOT}/configs/unet_ce.py'\ntrain_dataloader = dict(dataset=dict(_delete_=True, "
    text += "type='RepeatDataset', times=2, dataset=dict(type='CityscapesColorMaskDataset')))\n"
    (tmp_path / "wrapped.py").write_text(text)
    (name,) = option
    with pytest.raises(ValueError, match=f"`{name}` to be left out for a RepeatDataset, .*--cfg-options"):
        load_config(str(tmp_path / "wrapped.py"), **option)


def test_the_command_line_gives_what_load_config_takes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import _cli

    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    _cli.add_config_options(parser, training=True)
    flags = (
        "--amp --wandb --tensorboard --deterministic --no-weighted-sampler --image-size 64 96 --filter-city ulm bonn"
    )
    args = parser.parse_args(["configs/deeplabv3_balanced.py", *flags.split()])
    given = {name: value for name, value in vars(args).items() if name in {option.name for option in OPTIONS}}
    given = {name: value for name, value in given.items() if value is not None}
    assert given == dict(
        amp="auto",
        wandb="online",
        tensorboard=True,
        deterministic=True,
        weighted_sampler=False,
        image_size=[64, 96],
        filter_city=["ulm", "bonn"],
    )
    cfg = load_config(args.config, **given)
    assert cfg.image_size == (64, 96) and cfg.randomness.deterministic


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="'batchsize'.*Did you mean 'batch_size'"):
        load_config(CONFIG, batchsize=3)


def test_every_option_leaves_other_configs_alone():
    cfg = load_config(CONFIG)
    before = copy.deepcopy(cfg.to_dict())
    load_config(CONFIG, image_size=(64, 64), loss="ce", seed=5)
    assert cfg.to_dict() == before
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)
