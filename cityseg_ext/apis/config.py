"""From a config file and the options of a command line to the config that runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import mmengine.device.utils as device_utils
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from cityseg_ext.apis.checkpoint import backbone_prefix
from cityseg_ext.apis.unet_size import set_unet_size
from cityseg_ext.checks import check_at_least, check_choice, expected

DEVICES = ("auto", "cpu", "cuda", "mps")
_DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_PIPELINES = ("train_pipeline", "test_pipeline", "tta_pipeline")


def load_config(
    path: str,
    *,
    work_dir: str | None = None,
    data_root: str | None = None,
    label_source: str | None = None,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    num_epochs: int | None = None,
    num_workers: int | None = None,
    pretrained: str | None = None,
    unet_width: int | None = None,
    unet_depth: int | None = None,
    amp: bool = False,
    launcher: str = "none",
    cfg_options: dict | None = None,
) -> Config:
    """Load a config and write options into the fields that they stand for.

    Args:
        path: config file.
        work_dir: ``work_dir``; by default the config's own, else ``work_dirs/<config name>``.
        data_root: ``data_root`` of every data set.
        label_source: what the label files hold, ``source`` of every data set: ``'color'``, ``'label_ids'`` or
            ``'train_ids'``. Pairs always hold colour masks.
        image_size: (height, width): the size of resize, crop and padding in every pipeline.
        batch_size: images a step and process, ``train_dataloader.batch_size``.
        num_epochs: ``train_cfg.max_epochs``; learning-rate schedules that last for the whole run are stretched.
        num_workers: loader processes, of every dataloader.
        pretrained: ``'none'`` trains from scratch (nothing is frozen then); else the path or URL of backbone weights.
            A file may be that of a whole model, in which their names begin with ``backbone.``.
        unet_width: channels of a UNet's first stage, see :func:`~cityseg_ext.apis.unet_size.set_unet_size`.
        unet_depth: stages of a UNet.
        amp: mixed precision: ``optim_wrapper.type='AmpOptimWrapper'``.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        cfg_options: field -> value, written last.

    Returns:
        The config.

    Raises:
        FileNotFoundError: if there is no such config or weights file.
        ValueError: if an option does not fit the config.
    """
    if not Path(path).is_file():
        near = sorted(str(file) for file in Path("configs").glob("*.py"))
        raise FileNotFoundError(
            expected("config", "an existing file", repr(path), f"There are {near}." if near else "")
        )
    cfg = Config.fromfile(path)
    cfg.launcher = launcher
    if data_root is not None:
        cfg.data_root = data_root
        _set_in_datasets(cfg, "data_root", data_root)
    if label_source is not None:
        _set_label_source(cfg, label_source)
    if image_size is not None:
        _set_image_size(cfg, *image_size)
    if batch_size is not None:
        check_at_least("batch_size", batch_size, 1)
        cfg.train_dataloader.batch_size = batch_size
    if num_epochs is not None:
        _set_num_epochs(cfg, num_epochs)
    if num_workers is not None:
        check_at_least("num_workers", num_workers, 0)
        for loader in _dataloaders(cfg):
            loader.num_workers = num_workers
    if pretrained is not None:
        _set_pretrained(cfg, pretrained)
    set_unet_size(cfg, unet_width, unet_depth)
    if amp:
        _set_amp(cfg)
    if launcher != "none":
        _set_distributed(cfg)
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    for loader in _dataloaders(cfg):
        if loader.get("num_workers") == 0:
            loader.persistent_workers = False  # PyTorch refuses them where there are no workers
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs", Path(path).stem))
    return cfg


def select_device(name: str) -> str:
    """Choose the device that mmengine will use in this process.

    Args:
        name: ``'auto'`` (the best there is), ``'cpu'``, ``'cuda'`` or ``'mps'``.

    Returns:
        The device chosen.

    Raises:
        ValueError: if this machine has no such device.
    """
    check_choice("device", name, DEVICES)
    if name == "auto":
        return device_utils.get_device()
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[name]:
        there = [device for device, is_there in present.items() if is_there]
        raise ValueError(expected("device", f"one that this machine has ({', '.join(there)})", repr(name)))
    device_utils.DEVICE = name  # mmengine decides once, at import, and has no other switch
    return name


def _set_in_datasets(cfg: Config, field: str, value: str) -> None:
    for loader in _dataloaders(cfg):
        loader.dataset[field] = value


def _set_label_source(cfg: Config, source: str) -> None:
    for loader in _dataloaders(cfg):
        if loader.dataset.type == "CityscapesPairsDataset":
            rule = "left out for image pairs, in which labels are always colour masks"
            raise ValueError(expected("label_source", rule, repr(source)))
    _set_in_datasets(cfg, "source", source)


def _dataloaders(cfg: Config) -> list[ConfigDict]:
    """The data loaders that the config has; one that is switched off is None."""
    return [cfg[name] for name in _DATALOADERS if cfg.get(name)]


def walk_transforms(node: object) -> Iterator[ConfigDict]:
    """All transforms of a pipeline, those inside wrappers too."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from walk_transforms(item)
    elif isinstance(node, dict) and "type" in node:
        yield node
        yield from walk_transforms(node.get("transforms", ()))


def _set_image_size(cfg: Config, height: int, width: int) -> None:
    check_at_least("image_size", min(height, width), 1)
    cfg.image_size = (height, width)
    pipelines = [cfg[name] for name in _PIPELINES if name in cfg]
    pipelines += [loader.dataset.pipeline for loader in _dataloaders(cfg)]
    for transform in walk_transforms(pipelines):
        if "scale" in transform:
            transform.scale = (width, height)
        if "crop_size" in transform:
            transform.crop_size = (height, width)
    if "size_divisor" not in cfg.model.data_preprocessor:  # that pads to multiples, whatever the size
        cfg.model.data_preprocessor.size = (height, width)


def _set_num_epochs(cfg: Config, num_epochs: int) -> None:
    check_at_least("num_epochs", num_epochs, 1)
    if "max_epochs" not in cfg.train_cfg:
        raise ValueError(
            expected(
                "num_epochs",
                "used with an epoch-based config",
                f"train_cfg.type={cfg.train_cfg.get('type')!r}",
                "Set its length with --cfg-options train_cfg.max_iters=N.",
            )
        )
    before, cfg.train_cfg.max_epochs = cfg.train_cfg.max_epochs, num_epochs
    kept = []
    for scheduler in cfg.get("param_scheduler", ()):
        begin = scheduler.get("begin", 0)
        if not scheduler.get("by_epoch", True) or begin < num_epochs:  # others would begin after the run
            kept.append(scheduler)
        if scheduler.get("by_epoch", True) and scheduler.get("end") == before:
            scheduler.end = num_epochs
            if scheduler.get("T_max") == before - begin:
                scheduler.T_max = num_epochs - begin
    cfg.param_scheduler = kept


def _set_pretrained(cfg: Config, pretrained: str) -> None:
    if pretrained != "none":
        if "://" in pretrained:
            before = cfg.model.backbone.get("init_cfg")
            prefix = before.get("prefix") if isinstance(before, dict) else None  # the same kind of file is assumed
        elif Path(pretrained).is_file():
            prefix = backbone_prefix(pretrained)
        else:
            raise FileNotFoundError(expected("pretrained", "'none', a file or a URL", repr(pretrained)))
        cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=pretrained, prefix=prefix)
        return
    cfg.model.backbone.init_cfg = None
    message = "Training from scratch: no pretrained weights."
    if cfg.model.backbone.get("frozen_stages", -1) >= 0:
        cfg.model.backbone.frozen_stages = -1
        message += " The frozen stages are released, because random weights must not stay frozen."
    print_log(message, logger="current", level=logging.WARNING)


def _set_amp(cfg: Config) -> None:
    device = device_utils.get_device()
    if device in ("cpu", "mps"):
        raise ValueError(
            expected("amp", "used on a GPU (mmengine's AmpOptimWrapper asks for one)", f"device {device!r}")
        )
    check_choice("optim_wrapper.type", cfg.optim_wrapper.type, ("OptimWrapper", "AmpOptimWrapper"))
    if cfg.optim_wrapper.type == "OptimWrapper":
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.loss_scale = "dynamic"


def _set_distributed(cfg: Config) -> None:
    if device_utils.get_device() == "cuda":
        cfg.sync_bn = "torch"  # mmengine then turns BatchNorm into SyncBatchNorm
        return
    cfg.env_cfg.dist_cfg.backend = "gloo"
    # On the CPU there is no device to name and no SyncBatchNorm: statistics are taken from the first process instead.
    cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=True)
