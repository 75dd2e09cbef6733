"""Mistakes that can be known before the first step are told before the first step."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import EpochBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmseg.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from cityseg_ext.checks import did_you_mean, expected
from cityseg_ext.hooks.segmentor import heads_of, losses_of, segmentor_of


@HOOKS.register_module()
class PreflightHook(Hook):
    """Connect validation loss and model, and check what would otherwise fail late or never.

    * every metric with a ``bind`` method gets the decode head's losses, and its values are logged as they are;
    * the number of classes of each head must be that of each data set;
    * where the backbone's weights come from is logged;
    * ``class_weight`` of each loss must have one value a class;
    * no batch may be of one image where BatchNorm follows a pooling to 1x1 (ASPP): it would have one value a channel;
    * each ``monitor`` and ``save_best`` must be a name that the evaluator will produce.

    Raises:
        ValueError: naming the config field, its value, and what would be right.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner) -> None:
        """Run all checks that apply to the loops that exist."""
        model = segmentor_of(runner.model)
        loops = [
            loop for loop in (runner._train_loop, runner._val_loop, runner._test_loop) if isinstance(loop, BaseLoop)
        ]
        for loop in loops:
            for name, head in heads_of(model):
                _check_classes(name, head, loop.dataloader.dataset)
            for metric in getattr(getattr(loop, "evaluator", None), "metrics", ()):
                if hasattr(metric, "bind"):
                    metric.bind(losses_of(_last(model.decode_head)))
                    _log_unsmoothed(runner, metric.prefix)
        if isinstance(runner._train_loop, BaseLoop):
            _check_monitors(runner)
            _check_batches_of_one(model, runner._train_loop.dataloader)
            runner.logger.info(f"Backbone weights at the start: {_pretrained(model.backbone)}")


def check_has_batches(loop: BaseLoop) -> None:
    """Raise ``ValueError`` if an epoch has no batch: mmengine would, with an assertion about something else."""
    if isinstance(loop, EpochBasedTrainLoop) and len(loop.dataloader) == 0:
        images = len(loop.dataloader.dataset)
        found = f"{loop.dataloader.batch_size} for {images} images on {get_world_size()} processes"
        rule = "so small that there is a whole batch (`drop_last` leaves out others)"
        raise ValueError(expected("train_dataloader.batch_size", rule, found))


def _log_unsmoothed(runner, prefix: str) -> None:
    """Keep mmengine from logging the mean of the last ten validations as the loss of this one.

    It smooths whatever has "loss" in its name: right for training steps, wrong for a value of the whole data set.
    """
    pattern = runner.log_processor.mean_pattern.pattern
    exception = f"(?!.*{re.escape(prefix)}/)"
    if not pattern.startswith(f"^{exception}"):
        runner.log_processor.mean_pattern = re.compile(f"^{exception}(?:{pattern})")


def _pretrained(backbone: nn.Module) -> str:
    init = getattr(backbone, "init_cfg", None) or []
    for item in init if isinstance(init, list) else [init]:
        if item.get("type") == "Pretrained":
            return str(item["checkpoint"])
    return "random, trained from scratch"


def _last(head: nn.Module) -> nn.Module:
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _check_classes(name: str, head: nn.Module, dataset) -> None:
    classes = getattr(dataset, "metainfo", {}).get("classes")
    if classes is None:
        return
    if head.num_classes != len(classes):
        raise ValueError(
            expected(
                f"model.{name}.num_classes",
                f"{len(classes)}, the number of classes of {type(dataset).__name__}",
                head.num_classes,
                f"Set it to {len(classes)}, or change the data set's `taxonomy`.",
            )
        )
    for loss in losses_of(head):
        weights = getattr(loss, "class_weight", None)
        if weights is not None and len(weights) != len(classes):
            raise ValueError(
                expected(
                    f"model.{name}.loss_decode.class_weight",
                    f"{len(classes)} weights, one a class",
                    f"{len(weights)}",
                    f"The classes are {', '.join(classes)}.",
                )
            )


def _check_batches_of_one(model: nn.Module, loader: DataLoader) -> None:
    pools = [name for name, head in heads_of(model) if _normalises_pooled(getattr(head, "image_pool", None))]
    if not pools:
        return
    cure = "norm_cfg=dict(type='GN', num_groups=32) in the head needs no other images."
    if loader.batch_size == 1:
        cure = f"Take 2, and half as many batches an update (--grad-accum-steps); or {cure}"
        raise ValueError(
            expected("train_dataloader.batch_size", f"at least 2 for the ASPP pooling of {pools[0]}", 1, cure)
        )
    endless = isinstance(loader.sampler, InfiniteSampler)  # all its batches are full
    if not endless and not loader.drop_last and len(loader.sampler) % loader.batch_size == 1:
        found = f"False, and the last of {len(loader)} batches has one image"
        cure = f"Leave that batch out (drop_last=True); or {cure}"
        raise ValueError(
            expected("train_dataloader.drop_last", f"True for the ASPP pooling of {pools[0]}", found, cure)
        )


def _normalises_pooled(pool: nn.Module | None) -> bool:
    """Whether statistics are taken from what was pooled, of this process' images only."""
    modules = list(pool.modules()) if pool is not None else []
    alone = not any(isinstance(module, nn.SyncBatchNorm) for module in modules) or get_world_size() == 1
    return alone and any(isinstance(module, _BatchNorm) and module.training for module in modules)


def _check_monitors(runner) -> None:
    metrics: list[BaseMetric] = runner.val_loop.evaluator.metrics if runner._val_loop is not None else []
    if not all(hasattr(metric, "metric_names") for metric in metrics):
        return  # a foreign metric: what it will emit cannot be known before it has run
    names = [name for metric in metrics for name in metric.metric_names()]
    for field, monitor in _monitors(runner):
        if monitor not in names:
            near = did_you_mean(monitor, names)
            cure = near if names else "Give the config a `val_dataloader`, `val_cfg` and `val_evaluator`."
            raise ValueError(expected(field, f"one of {names}", repr(monitor), cure))


def _monitors(runner) -> Iterator[tuple[str, str]]:
    schedulers = runner.param_schedulers
    for group in schedulers.values() if isinstance(schedulers, dict) else [schedulers or []]:
        for scheduler in group:
            if hasattr(scheduler, "monitor"):
                yield f"param_scheduler.{type(scheduler).__name__}.monitor", scheduler.monitor
    for hook in runner.hooks:
        if isinstance(hook, EarlyStoppingHook):
            yield "EarlyStoppingHook.monitor", hook.monitor
        elif isinstance(hook, CheckpointHook) and hook.save_best and runner._val_loop is not None:
            chosen = [hook.save_best] if isinstance(hook.save_best, str) else hook.save_best
            yield from (("CheckpointHook.save_best", name) for name in chosen if name != "auto")
