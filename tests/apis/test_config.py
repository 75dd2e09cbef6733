import pytest
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS, MODELS

from cityseg_ext.apis.config import load_config, select_device
from cityseg_ext.apis.config_tree import pipelines, walk_transforms
from cityseg_ext.apis.options import apply_options

CONFIG = "configs/deeplabv3_focaldice.py"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    from conftest import ROOT

    monkeypatch.chdir(ROOT)


def transforms(pipeline):
    return {transform["type"]: transform for transform in pipeline}


def test_without_options_the_config_is_as_written():
    cfg = load_config(CONFIG)
    plain = Config.fromfile(CONFIG)
    for name in ("train_dataloader", "val_dataloader"):
        assert plain[name].pin_memory
        assert ("pin_memory" in cfg[name]) == torch.cuda.is_available()  # without a device PyTorch would warn
        cfg[name].pin_memory = plain[name].pin_memory
    assert cfg.work_dir == "work_dirs/deeplabv3_focaldice"
    for name in ("model", "train_dataloader", "val_dataloader", "optim_wrapper", "param_scheduler", "train_cfg"):
        assert cfg[name] == plain[name]


def test_the_recipe_is_that_of_the_project_it_replaces():
    cfg = load_config(CONFIG)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", 5e-4, 1e-3)
    assert cfg.param_scheduler[0].type == "LinearLR"
    plateau = cfg.param_scheduler[1]
    assert (plateau.type, plateau.monitor) == ("ReduceOnPlateauLR", "val/loss")
    assert (plateau.factor, plateau.patience) == (0.5, 3)
    assert cfg.train_dataloader.batch_size == 32 and cfg.model.backbone.frozen_stages >= 1
    loss = cfg.model.decode_head.loss_decode
    assert (loss.type, loss.focal_weight, loss.dice_weight) == ("FocalDiceLoss", 1.5, 1.0)
    assert cfg.model.backbone.init_cfg == dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c")


def test_the_baseline_differs_in_the_loss_only():
    ours, baseline = Config.fromfile(CONFIG), Config.fromfile("configs/deeplabv3_ce.py")
    for cfg in (ours, baseline):
        del cfg.model.decode_head["loss_decode"], cfg.model.auxiliary_head["loss_decode"]
    assert ours.to_dict() == baseline.to_dict()


def test_options_reach_every_place():
    places = dict(data_root="d", label_source="label_ids", work_dir="w")
    cfg = load_config(CONFIG, image_size=(96, 160), batch_size=3, num_epochs=7, num_workers=0, **places)
    loaders = [cfg[name] for name in ("train_dataloader", "val_dataloader", "test_dataloader")]
    assert {(loader.dataset.data_root, loader.dataset.source) for loader in loaders} == {("d", "label_ids")}
    assert all(loader.num_workers == 0 and not loader.persistent_workers for loader in loaders)
    train = transforms(cfg.train_dataloader.dataset.pipeline)
    assert train["RandomCrop"]["crop_size"] == (96, 160) and train["RandomResize"]["scale"] == (160, 96)
    for pipeline in (cfg.val_dataloader.dataset.pipeline, cfg.test_dataloader.dataset.pipeline, cfg.test_pipeline):
        assert transforms(pipeline)["Resize"]["scale"] == (160, 96)
    assert cfg.tta_pipeline[1].transforms[0][0].scale == (160, 96)
    assert cfg.model.data_preprocessor.size == (96, 160)
    assert cfg.train_dataloader.batch_size == 3 and cfg.train_cfg.max_epochs == 7 and cfg.work_dir == "w"


@pytest.mark.parametrize(("epochs", "schedule"), [(30, [(0, 1, None), (1, 30, 29)]), (1, [(0, 1, None)])])
def test_schedules_that_last_for_the_run_are_stretched(epochs, schedule):
    cfg = load_config("configs/demo_deeplabv3_focaldice.py", num_epochs=epochs)
    assert [(item.begin, item.end, item.get("T_max")) for item in cfg.param_scheduler] == schedule
    plateau = load_config(CONFIG, num_epochs=epochs).param_scheduler
    assert [item.type for item in plateau] == ["LinearLR", "ReduceOnPlateauLR"]


def test_a_file_that_is_no_config_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"`config` to be a config \(.py, .* or the manifest.json .* got 'README.md'"):
        load_config("README.md")


def test_from_scratch_releases_frozen_stages():
    cfg = load_config(CONFIG, pretrained="none")
    assert cfg.model.backbone.init_cfg is None and cfg.model.backbone.frozen_stages == -1
    assert load_config(CONFIG).model.backbone.frozen_stages >= 1


@pytest.mark.parametrize("config", [CONFIG, "configs/deeplabv3_convnext_focaldice.py", "configs/unet_ce.py"])
@pytest.mark.parametrize(
    ("name", "prefix"), [("conv.weight", None), ("backbone.conv.weight", "backbone."), ("head.weight", None)]
)
def test_own_weights_are_those_of_a_backbone_or_of_a_whole_model(config, name, prefix, tmp_path):
    path = str(tmp_path / "weights.pth")
    for content in ({name: torch.zeros(1)}, dict(state_dict={name: torch.zeros(1)}, meta={})):
        torch.save(content, path)
        backbone = load_config(config, pretrained=path).model.backbone
        assert backbone.init_cfg == dict(type="Pretrained", checkpoint=path, prefix=prefix)
        assert backbone.get("frozen_stages") == load_config(config).model.backbone.get("frozen_stages")


@pytest.mark.parametrize(
    ("config", "prefix"), [(CONFIG, None), ("configs/deeplabv3_convnext_focaldice.py", "backbone.")]
)
def test_weights_from_elsewhere_are_of_the_configs_own_kind(config, prefix):
    backbone = load_config(config, pretrained="https://example.org/weights.pth").model.backbone
    assert backbone.init_cfg == dict(type="Pretrained", checkpoint="https://example.org/weights.pth", prefix=prefix)


def test_cfg_options_are_written_last():
    cfg = load_config(CONFIG, batch_size=3, cfg_options={"train_dataloader.batch_size": 5})
    assert cfg.train_dataloader.batch_size == 5


def test_labels_are_cached_in_every_pipeline(tmp_path):
    cfg = load_config("configs/demo_deeplabv3_focaldice.py", label_cache=str(tmp_path))
    loadings = [part for part in walk_transforms(pipelines(cfg)) if part.type == "LoadColorMaskAnnotations"]
    assert len(loadings) == 6 and all(part.cache_dir == str(tmp_path) for part in loadings)
    cfg = Config.fromfile(CONFIG)
    for part in walk_transforms(pipelines(cfg)):
        if part.type == "LoadColorMaskAnnotations":
            part.type = "LoadAnnotations"
    with pytest.raises(ValueError, match="`label_cache` to be used with a config whose pipelines have Load"):
        apply_options(cfg, dict(label_cache="x"))


def test_photographs_travel_as_bytes_and_are_normalised_by_the_model(tiny_city):
    cfg = load_config(CONFIG, data_root=str(tiny_city), image_size=(64, 128))
    sample = DATASETS.build(cfg.train_dataloader.dataset)[0]
    assert sample["inputs"].dtype == torch.uint8
    known = cfg.model.data_preprocessor
    batch = dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"]])
    images = MODELS.build(known)(batch, training=True)["inputs"]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (known["mean"], known["std"]))
    height, width = sample["inputs"].shape[1:]
    rgb = sample["inputs"].flip(0).float()
    torch.testing.assert_close(images[0, :, :height, :width], (rgb - mean) / std)


def test_options_of_image_pairs():
    config = "configs/unet_pairs_256.py"
    options = dict(data_root="d", image_size=(96, 160), batch_size=3, num_epochs=7, pretrained="none", num_workers=0)
    cfg = load_config(config, **options)
    loaders = [cfg[name] for name in ("train_dataloader", "val_dataloader", "test_dataloader")]
    assert {(loader.dataset.data_root, loader.num_workers) for loader in loaders} == {("d", 0)}
    assert transforms(cfg.train_pipeline)["RandomCrop"]["crop_size"] == (96, 160)
    assert cfg.train_cfg.max_epochs == 7 and cfg.train_dataloader.batch_size == 3
    padding = cfg.model.data_preprocessor
    assert "size" not in padding and padding.size_divisor == padding.test_cfg.size_divisor == 16
    with pytest.raises(ValueError, match="`label_source` to be left out for image pairs.*'label_ids'"):
        load_config(config, label_source="label_ids")


def test_several_processes(monkeypatch):
    monkeypatch.setattr("mmengine.device.utils.DEVICE", "cuda")
    assert load_config(CONFIG, launcher="pytorch").sync_bn == "torch"
    monkeypatch.setattr("mmengine.device.utils.DEVICE", "cpu")
    cfg = load_config(CONFIG, launcher="pytorch")
    assert cfg.env_cfg.dist_cfg.backend == "gloo" and cfg.model_wrapper_cfg.device_ids is None


def test_mistakes_are_named(tmp_path):
    checkpoint = tmp_path / "best.pth"
    checkpoint.touch()
    with pytest.raises(FileNotFoundError, match=r"'configs/nothing.py'.*deeplabv3_focaldice.py"):
        load_config("configs/nothing.py")
    with pytest.raises(ValueError, match="`config` to be a config .*, but got '.*best.pth'. Where both"):
        load_config(str(checkpoint))
    with pytest.raises(FileNotFoundError, match="`pretrained`.*'resnet.pth'"):
        load_config(CONFIG, pretrained="resnet.pth")
    with pytest.raises(ValueError, match="config.py' to be a readable checkpoint|config.py' to be a checkpoint"):
        load_config(CONFIG, pretrained=__file__)
    for option, value in (("batch_size", 0), ("num_epochs", 0), ("num_workers", -1), ("image_size", (0, 5))):
        with pytest.raises(ValueError, match=f"`{option}` to be at least"):
            load_config(CONFIG, **{option: value})


def test_devices(monkeypatch):
    import mmengine.device.utils as utils

    monkeypatch.setattr(utils, "DEVICE", utils.DEVICE)
    assert select_device("cpu") == utils.get_device() == "cpu"
    with pytest.raises(ValueError, match="`device` to be one of .*'gpu'"):
        select_device("gpu")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"one that this machine has \(cpu.*'mps'"):
        select_device("mps")
