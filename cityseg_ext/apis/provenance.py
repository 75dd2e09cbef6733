"""Where numbers come from: code, data, versions and hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import mmcv
import mmengine
import mmseg
import numpy
import torch
from mmengine.config import Config
from mmengine.device import get_device

import cityseg_ext
from cityseg_ext.apis.dataset_statistics import STATISTICS
from cityseg_ext.statistics_file import load_statistics


def provenance(cfg: Config, checkpoint: str | None, command: str = "") -> dict[str, Any]:
    """What somebody needs to get the same numbers again; paths are in it only as the user gave them.

    Args:
        cfg: the config of the run.
        checkpoint: the weights; None for a run that begins without.
        command: the command line.

    Returns:
        Plain values for JSON; None for what is not known.
    """
    return dict(
        name=Path(cfg.work_dir).name,
        config=Path(cfg.filename).name if cfg.filename else None,
        config_text=cfg.pretty_text,
        checkpoint=checkpoint,
        command=command or None,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=_commit(),
        data=_data(cfg),
        versions=versions(),
        hardware=hardware(),
    )


def _commit() -> str | None:
    """The commit of this package's checkout, and whether files differ from it; None where it is no checkout."""
    here = Path(cityseg_ext.__file__).parent
    # An installed package may lie in the checkout of something else.
    if _git(here, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, changes = _git(here, "rev-parse", "HEAD"), _git(here, "status", "--porcelain", "--untracked-files=no")
    return commit if not commit or not changes else f"{commit} with changes"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout: said as None
        return None
    return done.stdout.strip()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file of any size, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _data(cfg: Config) -> dict[str, Any]:
    """The tested (else the training) data set, and the fingerprint of tools/check_dataset.py where it was run."""
    path = Path(cfg.work_dir, "dataset", STATISTICS)
    dataset = (cfg.get("test_dataloader") or cfg.train_dataloader).dataset
    return dict(
        root=dataset.get("data_root"),
        type=dataset.type,
        fingerprint=load_statistics(path).fingerprint if path.is_file() else None,
    )


def versions() -> dict[str, str]:
    """Of this package, of Python and of the libraries that decide about numbers."""
    modules = dict(cityseg_ext=cityseg_ext, torch=torch, mmengine=mmengine, mmcv=mmcv, mmseg=mmseg, numpy=numpy)
    found = {name: str(module.__version__) for name, module in modules.items()}
    return found | dict(OpenCV=cv2.__version__, Python=platform.python_version())


def hardware() -> dict[str, Any]:
    """Device, processor, cores and system; the names are those that the machine gives."""
    device = get_device()
    return dict(
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        processor=_processor(),
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
    )


def _processor() -> str | None:
    listing = Path("/proc/cpuinfo")  # Linux has the name nowhere else
    lines = listing.read_text(errors="replace").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None
