"""Weights & Biases and TensorBoard, over training iterations and with training that outlives them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.visualization import TensorboardVisBackend, WandbVisBackend
from mmengine.visualization.vis_backend import force_init_env
from mmseg.registry import VISBACKENDS

from cityseg_ext.visualization.tolerance import Tolerance

_STEP = "iter"  # the name under which mmengine logs the training iteration
# Seconds that a lost network may hold up the start and the end. What did not arrive stays on disk, for `wandb sync`.
_SETTINGS = dict(console="off", quiet=True, init_timeout=30, finish_timeout=600)
_OFFLINE = ("offline", "dryrun", "disabled")


@VISBACKENDS.register_module()
class TolerantTensorboardVisBackend(Tolerance, TensorboardVisBackend):
    """mmengine's ``TensorboardVisBackend``; training goes on when it fails.

    Args:
        save_dir: folder of the event files, given by the visualizer: ``vis_data`` of the run.

    Raises:
        ValueError: if TensorBoard is not installed.
    """

    package = "torch.utils.tensorboard"
    extra = "tensorboard"


class _WandbOverIterations(WandbVisBackend):
    """mmengine's backend numbers points by the calls that logged them; here they stand at training iterations."""

    def _init_env(self) -> None:
        wandb = import_module("wandb")
        Path(self._save_dir).mkdir(parents=True, exist_ok=True)
        options = dict(dir=self._save_dir, reinit="create_new") | (self._init_kwargs or {})
        options["settings"] = _SETTINGS | dict(options.get("settings") or {})
        mode = options.get("mode") or wandb.setup().settings.mode
        # Asked for by hand, because `init` would wait at a terminal for somebody to type a key.
        if mode not in _OFFLINE and not wandb.login(prompt=False, verify=False):
            raise RuntimeError("No login. Run `wandb login` once, set WANDB_API_KEY, or log offline.")
        self._wandb = wandb
        self._run = wandb.init(**options)
        # Points have an axis of their own: W&B drops those whose own step number is not the greatest so far.
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)
        if mode == "offline":
            print_log(
                f"Weights & Biases, offline: upload with wandb sync '{Path(self._run.dir).parent}'", logger="current"
            )
        elif mode not in _OFFLINE:
            print_log(f"Weights & Biases: {self._run.url}", logger="current")

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The run of the package ``wandb``."""
        return self._run

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Record the config; not the code, as mmengine does: that would be every file below the current folder."""
        self._run.config.update(config.to_dict(), allow_val_change=True)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image, uint8 (H, W, 3), RGB."""
        self._run.log({name: self._wandb.Image(image), _STEP: step})

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record one value."""
        self._run.log({name: value, _STEP: step})

    @force_init_env
    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any) -> None:
        """Record values by name."""
        self._run.log({**scalar_dict, _STEP: step})

    def close(self) -> None:
        """End the run, and wait until all of it has arrived on disk or at the server."""
        if hasattr(self, "_run"):
            self._run.finish()
            # Offline, `finish` returns before the service has written its file; a process that leaves at once loses it.
            self._wandb.teardown()


@VISBACKENDS.register_module()
class TolerantWandbVisBackend(Tolerance, _WandbOverIterations):
    """Weights & Biases, with values over training iterations; training goes on when it fails.

    It never asks at the terminal: a run that is to be online and has no login is a failure like others. Where nothing
    else is said, the environment is followed (``WANDB_MODE``, ``WANDB_API_KEY`` and others). Files are written to the
    run's folder ``vis_data/wandb``; the package keeps its own log in ``~/.cache/wandb`` (``WANDB_CACHE_DIR``).

    Args:
        save_dir: folder of files, given by the visualizer: ``vis_data`` of the run.
        init_kwargs: arguments of ``wandb.init``, such as project, name or mode.

    Raises:
        ValueError: if the package ``wandb`` is not installed.
    """

    package = "wandb"
    extra = "wandb"

    def __init__(self, save_dir: str, init_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(save_dir, init_kwargs=init_kwargs)
