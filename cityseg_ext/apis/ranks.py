"""How the processes of a run find each other, and how they share the work."""

from __future__ import annotations

import os
from datetime import timedelta

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist

from cityseg_ext.checks import expected

_PLACES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # as torchrun calls them
_NAMES = {
    "pytorch": _PLACES,
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}
_FIRST_PORT, _PORTS = 20000, 10000  # below those that systems give to outgoing connections


def set_distributed(cfg: Config) -> None:
    """Write into a config what several processes need.

    Args:
        cfg: a config whose ``launcher`` is not ``'none'``; changed.
    """
    if get_device() == "cuda":
        cfg.sync_bn = "torch"  # mmengine then turns BatchNorm into SyncBatchNorm
        return
    cfg.env_cfg.dist_cfg.backend = "gloo"
    # On the CPU there is no device to name and no SyncBatchNorm: each step begins with the statistics of the first
    # process, and what is validated and saved has the mean of all.
    cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=True)
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="SyncBuffersHook")]


def set_fsdp(cfg: Config, value: bool) -> None:
    """Share out weights, gradients and optimiser state among processes.

    Args:
        cfg: a config; changed.
        value: whether to do it.

    Raises:
        ValueError: if there is one process only.
    """
    if value and cfg.get("launcher", "none") == "none":
        cure = "Start it with tools/dist_train.sh CONFIG PROCESSES --fsdp."
        raise ValueError(expected("fsdp", "used with several processes", "launcher 'none'", cure))
    cfg.strategy = dict(type="ShardedStrategy") if value else None


def join_processes(cfg: Config) -> None:
    """Wait until all processes of the run are there; nothing is done for a run of one.

    Args:
        cfg: says which ``launcher`` has started them, and in ``env_cfg.dist_cfg`` the ``backend`` and the ``timeout``
            in seconds, after which a process that waits for another gives up.

    Raises:
        ValueError: if this process was not started by that launcher.
    """
    launcher = cfg.get("launcher", "none")
    if launcher == "none" or dist.is_initialized():
        return
    missing = [name for name in _NAMES[launcher] if name not in os.environ]
    if missing:
        cure = "Use tools/dist_train.sh CONFIG PROCESSES" if launcher == "pytorch" else "Use its own command"
        found = f"{launcher!r} without the variable {missing[0]}"
        raise ValueError(expected("launcher", "what has started this process", found, f"{cure}, or leave it out."))
    # mmengine does not look where MPI has put this process, and without this all would take the first GPU.
    os.environ.update({place: os.environ[name] for place, name in zip(_PLACES, _NAMES[launcher], strict=True)})
    if launcher == "slurm":
        # By the number of the job: two jobs on a machine must not meet at one port.
        job = int(os.environ.get("SLURM_JOB_ID", "0"))
        os.environ.setdefault("MASTER_PORT", str(_FIRST_PORT + job % _PORTS))
    options = dict(cfg.env_cfg.get("dist_cfg", {}))
    if get_device() != "cpu":
        init_dist(launcher, **options)
        return
    # mmengine would ask a build of PyTorch without CUDA for its CUDA device.
    os.environ.setdefault("MASTER_ADDR", os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"))
    os.environ.setdefault("MASTER_PORT", str(_FIRST_PORT))
    timeout = timedelta(seconds=options["timeout"]) if "timeout" in options else None
    dist.init_process_group("gloo", timeout=timeout)
