"""From a config file and the options of a command line to the config that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmengine.device.utils as device_utils
import torch
from mmengine.config import Config

from cityseg_ext.apis.config_tree import dataloaders
from cityseg_ext.apis.manifest import config_of, tell_differences
from cityseg_ext.apis.options import apply_options
from cityseg_ext.apis.ranks import set_distributed
from cityseg_ext.checks import check_choice, did_you_mean, expected
from cityseg_ext.shipped import configs_folder

_SUFFIXES = (".py", ".yml", ".yaml", ".json")
DEVICES = ("auto", "cpu", "cuda", "mps")


def load_config(
    path: str,
    *,
    work_dir: str | None = None,
    launcher: str = "none",
    cfg_options: dict | None = None,
    **options: Any,
) -> Config:
    """Load a config and write options into the fields that they stand for.

    Args:
        path: config file; or ``manifest.json`` of a training run, which is then made again, into another work dir.
        work_dir: ``work_dir``; by default the config's own, else ``work_dirs/<config name>``.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        cfg_options: field -> value, written last.
        options: any of :data:`~cityseg_ext.apis.options.OPTIONS` by name, such as ``data_root='data/cityscapes'``,
            ``image_size=(512, 1024)`` or ``num_epochs=3``; None leaves the config as it is.

    Returns:
        The config.

    Raises:
        FileNotFoundError: if there is no such config or weights file.
        TypeError: if there is no such option.
        ValueError: if the file is no config, or an option does not fit it.

    Example:
        >>> cfg = load_config('configs/unet_ce.py', num_epochs=3, lr=1e-3)  # doctest: +SKIP
    """
    if not Path(path).is_file():
        names = sorted(file.name for file in configs_folder().glob("*.py"))
        near = did_you_mean(Path(path).name, names)
        cure = f"{near} In '{configs_folder()}' there are {', '.join(names)}.".strip()
        raise FileNotFoundError(expected("config", "an existing file", repr(path), cure))
    if Path(path).suffix not in _SUFFIXES:
        rule = f"a config ({', '.join(_SUFFIXES[:-1])}) or the manifest.json of a training run"
        cure = "Where both are given, the config comes before the checkpoint."
        raise ValueError(expected("config", rule, repr(path), cure))
    is_manifest = path.endswith(".json")
    cfg = config_of(path) if is_manifest else Config.fromfile(path)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs", Path(path).stem))
    apply_options(cfg, options)
    if launcher != "none":
        set_distributed(cfg)
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    for loader in dataloaders(cfg):
        if loader.get("num_workers") == 0:
            loader.persistent_workers = False  # PyTorch refuses them where there are no workers
        if not torch.cuda.is_available():
            loader.pop("pin_memory", None)  # PyTorch would warn that there is no device to copy to
    if is_manifest:
        tell_differences(path, cfg)
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
