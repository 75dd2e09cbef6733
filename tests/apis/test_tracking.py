import pytest
from conftest import ROOT
from mmengine.config import Config

from cityseg_ext.apis.tracking import set_tensorboard, set_wandb


def config(**fields):
    return Config(dict(work_dir="work_dirs/a run", **fields))


def of_type(items, kind):
    return [item for item in items if item["type"] == kind]


def test_trackers_are_added_once_and_the_panels_too():
    cfg = Config.fromfile(ROOT / "configs" / "demo_deeplabv3_focaldice.py")
    before = len(cfg.custom_hooks)
    for mode in ("online", "offline"):
        set_wandb(cfg, mode, project="p")
        set_tensorboard(cfg)
    kinds = [backend["type"] for backend in cfg.visualizer.vis_backends]
    assert sorted(kinds) == ["LocalVisBackend", "TolerantTensorboardVisBackend", "TolerantWandbVisBackend"]
    assert cfg.visualizer.type == "SegLocalVisualizer"
    (wandb,) = of_type(cfg.visualizer.vis_backends, "TolerantWandbVisBackend")
    assert wandb.init_kwargs == dict(project="p", name="demo_deeplabv3_focaldice", mode="offline")
    assert len(of_type(cfg.custom_hooks, "ValidationPanelsHook")) == 1 and len(cfg.custom_hooks) == before + 1


def test_online_leaves_the_mode_to_the_environment():
    cfg = config()
    set_wandb(cfg)
    assert cfg.visualizer.vis_backends[-1].init_kwargs == dict(project="cityseg", name="a run")


def test_what_a_config_of_others_lacks_is_put_there():
    cfg = config()
    set_tensorboard(cfg)
    assert of_type(cfg.visualizer.vis_backends, "LocalVisBackend")
    assert cfg.default_hooks.logger == dict(type="LoggerHook", log_metric_by_epoch=False)


def test_what_a_config_says_stays():
    hook = dict(type="ValidationPanelsHook", num_images=9)
    logger = dict(type="LoggerHook", interval=7, log_metric_by_epoch=True)
    cfg = config(custom_hooks=[hook], default_hooks=dict(logger=logger, timer=dict(type="IterTimerHook")))
    set_tensorboard(cfg)
    assert cfg.custom_hooks == [hook] and cfg.default_hooks.logger == logger and "timer" in cfg.default_hooks


def test_a_mode_that_is_none():
    with pytest.raises(ValueError, match=r"`wandb` to be one of \['online', 'offline'\].*'offlin'.*Did you mean"):
        set_wandb(config(), "offlin")
