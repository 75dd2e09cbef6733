"""Switch trackers on in a config."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from cityseg_ext.checks import check_choice

WANDB_MODES = ("online", "offline")


def set_wandb(cfg: Config, mode: str = "online", project: str = "cityseg") -> None:
    """Log to Weights & Biases too: scores, losses, learning rate, config and validation panels.

    Args:
        cfg: the config to change; its ``work_dir`` names the run.
        mode: ``'online'`` is what the environment says (``WANDB_MODE``), and online where that says nothing;
            ``'offline'`` writes files to the run's folder, for ``wandb sync``.
        project: the project there.

    Raises:
        ValueError: if the mode is neither.
    """
    check_choice("wandb", mode, WANDB_MODES)
    name = Path(cfg.get("work_dir") or cfg.filename or "run").stem
    init_kwargs = dict(project=project, name=name) | (dict(mode=mode) if mode == "offline" else {})
    _add_backend(cfg, dict(type="TolerantWandbVisBackend", init_kwargs=init_kwargs))


def set_tensorboard(cfg: Config) -> None:
    """Log to TensorBoard too, into the run's folder ``vis_data``.

    Args:
        cfg: the config to change.
    """
    _add_backend(cfg, dict(type="TolerantTensorboardVisBackend"))


def _add_backend(cfg: Config, backend: dict) -> None:
    """Add a backend, or put it in the place of one of its type; and what makes its log useful."""
    visualizer = cfg.get("visualizer") or dict(type="SegLocalVisualizer")
    local = [dict(type="LocalVisBackend")]
    others = [item for item in visualizer.get("vis_backends") or local if item["type"] != backend["type"]]
    cfg.visualizer = dict(visualizer, vis_backends=[*others, backend])
    hooks = cfg.get("default_hooks") or {}
    logger = dict(log_metric_by_epoch=False) | dict(hooks.get("logger") or dict(type="LoggerHook"))
    cfg.default_hooks = dict(hooks, logger=logger)
    custom = cfg.get("custom_hooks") or []
    if not any(hook["type"] == "ValidationPanelsHook" for hook in custom):
        cfg.custom_hooks = [*custom, dict(type="ValidationPanelsHook")]
