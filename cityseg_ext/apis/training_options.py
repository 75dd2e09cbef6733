"""Options of the command line that change the model's start, its loss, and how it is trained.

Each function writes its value into a config, and raises ``ValueError`` where it does not fit.
"""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

import mmengine.device.utils as device_utils
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmseg.registry import MODELS

from cityseg_ext.apis.checkpoint import backbone_prefix
from cityseg_ext.apis.config_tree import heads, is_epoch_based, losses
from cityseg_ext.apis.unet_size import set_unet_size
from cityseg_ext.checks import check_at_least, check_choice, expected

SCHEDULERS = ("poly", "cosine", "plateau")
LOSSES = ("ce", "focaldice")
PRECISIONS = ("auto", "fp16", "bf16")
_WRAPPERS = ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper")


def set_pretrained(cfg: Config, value: str) -> None:
    """Backbone weights: 'none', a URL, or a file of the backbone or of a whole model."""
    backbone = cfg.model.backbone
    if value != "none":
        if "://" in value:
            before = backbone.get("init_cfg")
            prefix = before.get("prefix") if isinstance(before, dict) else None  # the same kind of file is assumed
        elif Path(value).is_file():
            prefix = backbone_prefix(value)
        else:
            raise FileNotFoundError(expected("pretrained", "'none', a file or a URL", repr(value)))
        backbone.init_cfg = dict(type="Pretrained", checkpoint=value, prefix=prefix)
        return
    backbone.init_cfg = None
    message = "Training from scratch: no pretrained weights."
    if backbone.get("frozen_stages", -1) >= 0:
        backbone.frozen_stages = -1
        message += " The frozen stages are released, because random weights must not stay frozen."
    print_log(message, logger="current", level=logging.WARNING)


def set_freeze_stages(cfg: Config, value: int) -> None:
    """How many stages keep their pretrained weights: -1 none, 0 the stem, 1 stem and first stage ..."""
    backbone = cfg.model.backbone
    if not _can_freeze(backbone):
        raise ValueError(expected("freeze_stages", "used with a backbone that has stages to freeze", backbone.type))
    stages = backbone.get("num_stages", 4)
    if not -1 <= value <= stages:
        raise ValueError(expected("freeze_stages", f"-1 (nothing) to {stages}, the stages of {backbone.type}", value))
    if value >= 0 and backbone.get("init_cfg") is None and cfg.get("load_from") is None:
        cure = "Give weights with --pretrained PATH, or freeze nothing."
        raise ValueError(
            expected("freeze_stages", "-1 without pretrained weights: they would stay random", value, cure)
        )
    backbone.frozen_stages = value


def _can_freeze(backbone: ConfigDict) -> bool:
    kind = MODELS.get(backbone.type)
    classes = () if kind is None else kind.__mro__  # mmseg's ResNets pass arguments on to each other
    return any("frozen_stages" in inspect.signature(part.__init__).parameters for part in classes)


def set_unet_width(cfg: Config, value: int) -> None:
    """See :func:`~cityseg_ext.apis.unet_size.set_unet_size`."""
    set_unet_size(cfg, width=value)


def set_unet_depth(cfg: Config, value: int) -> None:
    """See :func:`~cityseg_ext.apis.unet_size.set_unet_size`."""
    set_unet_size(cfg, depth=value)


def set_loss(cfg: Config, value: str) -> None:
    """The loss of every head; its factor in the sum, and class weights, stay."""
    check_choice("loss", value, LOSSES)
    for head in heads(cfg):
        if isinstance(head.loss_decode, (list, tuple)):
            raise ValueError(expected("loss", "used with one loss a head", f"{len(head.loss_decode)} in {head.type}"))
        kept = {name: head.loss_decode[name] for name in ("loss_weight", "class_weight") if name in head.loss_decode}
        if value == "focaldice":
            head.loss_decode = dict(type="FocalDiceLoss", **kept)
        else:
            head.loss_decode = dict(type="WeightedCrossEntropyLoss", **kept)


def set_class_weight(cfg: Config, value: str) -> None:
    """Class weights of every loss; mmseg's cross-entropy, which fails on void pixels with them, is replaced by ours."""
    for loss in losses(cfg):
        if loss.type == "CrossEntropyLoss":
            factor = loss.get("loss_weight", 1.0)
            loss.clear()
            loss.update(type="WeightedCrossEntropyLoss", loss_weight=factor)
        elif loss.type not in ("FocalDiceLoss", "WeightedCrossEntropyLoss"):
            rule = "used with FocalDiceLoss or cross-entropy"
            raise ValueError(expected("class_weight", rule, f"a {loss.type}", "Choose one with --loss."))
        loss.class_weight = None if value == "none" else value


def set_num_epochs(cfg: Config, value: int) -> None:
    """The length of epoch-based training; schedules that last for the whole run are stretched."""
    check_at_least("num_epochs", value, 1)
    if not is_epoch_based(cfg):
        cure = "Set its length with --num-iters."
        kind = f"train_cfg.type={cfg.train_cfg.get('type')!r}"
        raise ValueError(expected("num_epochs", "used with an epoch-based config", kind, cure))
    before, cfg.train_cfg.max_epochs = cfg.train_cfg.max_epochs, value
    _stretch(cfg, before, value, by_epoch=True)


def set_num_iters(cfg: Config, value: int) -> None:
    """The length of iteration-based training; schedules that last for the whole run are stretched."""
    check_at_least("num_iters", value, 1)
    if is_epoch_based(cfg):
        kind = f"train_cfg.max_epochs={cfg.train_cfg.max_epochs}"
        raise ValueError(
            expected("num_iters", "used with an iteration-based config", kind, "Set its length with --num-epochs.")
        )
    before, cfg.train_cfg.max_iters = cfg.train_cfg.max_iters, value
    cfg.train_cfg.val_interval = min(cfg.train_cfg.get("val_interval", 1), value)
    saving = cfg.default_hooks.checkpoint
    saving.interval = min(saving.get("interval", value), value)
    _stretch(cfg, before, value, by_epoch=False)


def _stretch(cfg: Config, before: int, after: int, by_epoch: bool) -> None:
    kept = []
    for scheduler in cfg.get("param_scheduler", ()):
        if scheduler.get("by_epoch", True) != by_epoch:
            kept.append(scheduler)
            continue
        begin = scheduler.get("begin", 0)
        if begin < after:  # others would begin after the run
            kept.append(scheduler)
        if scheduler.get("end") == before:
            scheduler.end = after
            if scheduler.get("T_max") == before - begin:
                scheduler.T_max = after - begin
    cfg.param_scheduler = kept


def set_lr(cfg: Config, value: float) -> None:
    """The learning rate after warm-up."""
    if not value > 0:
        raise ValueError(expected("lr", "above 0", value))
    cfg.optim_wrapper.optimizer.lr = value


def set_scheduler(cfg: Config, value: str) -> None:
    """What follows the warm-up, if the config has one, until the end of the run."""
    check_choice("scheduler", value, SCHEDULERS)
    epochs = is_epoch_based(cfg)
    end = cfg.train_cfg.max_epochs if epochs else cfg.train_cfg.max_iters
    warm_up = [
        item for item in cfg.get("param_scheduler", ()) if item.type == "LinearLR" and item.get("end", end) < end
    ]
    begin = max((item.end for item in warm_up), default=0)
    span = dict(by_epoch=epochs, begin=begin, end=end, **(dict(convert_to_iter_based=True) if epochs else {}))
    after = {
        "poly": dict(type="PolyLR", power=0.9, eta_min=0.0, **span),
        "cosine": dict(type="CosineAnnealingLR", T_max=end - begin, eta_min=0.0, **span),
        "plateau": dict(type="ReduceOnPlateauLR", monitor="val/loss", rule="less", factor=0.5, patience=3),
    }
    cfg.param_scheduler = [*warm_up, after[value]]


def set_grad_accum_steps(cfg: Config, value: int) -> None:
    """One update every so many batches.

    Where training is counted in iterations (of one batch each), all lengths grow, so that the number of updates stays.
    """
    check_at_least("grad_accum_steps", value, 1)
    cfg.optim_wrapper.accumulative_counts = value
    if is_epoch_based(cfg):
        return
    cfg.train_cfg.max_iters *= value
    cfg.train_cfg.val_interval = cfg.train_cfg.get("val_interval", 1) * value
    saving = cfg.default_hooks.checkpoint
    saving.interval = saving.get("interval", 1) * value
    for scheduler in cfg.get("param_scheduler", ()):
        if not scheduler.get("by_epoch", True):
            for field in ("begin", "end", "T_max"):
                if field in scheduler:
                    scheduler[field] *= value


def set_amp(cfg: Config, value: str) -> None:
    """Mixed precision: float16 with loss scaling on a GPU, bfloat16 without anywhere."""
    check_choice("amp", value, PRECISIONS)
    device = device_utils.get_device()
    if value == "auto":
        value = "bf16" if device in ("cpu", "mps") else "fp16"
    if value == "fp16" and device in ("cpu", "mps"):
        rule = "'bf16' without a CUDA GPU (mmengine's AmpOptimWrapper asks for one)"
        raise ValueError(expected("amp", rule, f"'fp16' on device {device!r}"))
    check_choice("optim_wrapper.type", cfg.optim_wrapper.type, _WRAPPERS)
    if value == "fp16":
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.loss_scale = "dynamic"
    else:
        cfg.optim_wrapper.type = "BFloat16OptimWrapper"
        cfg.optim_wrapper.pop("loss_scale", None)
        cfg.optim_wrapper.pop("dtype", None)


def set_seed(cfg: Config, value: int) -> None:
    """Of weights, order, augmentation and dropout."""
    check_at_least("seed", value, 0)
    cfg.randomness = dict(cfg.get("randomness") or {}, seed=value)


def set_deterministic(cfg: Config, value: bool) -> None:
    """Only algorithms that repeat bit for bit."""
    cfg.randomness = dict(cfg.get("randomness") or {}, deterministic=value)
    cfg.env_cfg.cudnn_benchmark = not value
