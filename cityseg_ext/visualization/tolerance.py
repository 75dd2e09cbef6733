"""Training goes on when a tracker fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

from mmengine.logging import print_log
from mmengine.visualization import BaseVisBackend

from cityseg_ext.checks import expected, install_extra


class Tolerance(BaseVisBackend):
    """In front of a backend of mmengine's: its first failure is logged with the cause, and it is switched off.

    That holds for failures of network, login, server and disk, at the start or later. A package that is missing is no
    such failure: it was asked for, so it is an error, and that before the first step.

    Attributes:
        package: the module that must be there.
        extra: the extra of this project that installs it.

    Raises:
        ValueError: when built, if the package cannot be imported; on every rank, so that none waits for another.
    """

    package: str
    extra: str

    def __init__(self, save_dir: str, **kwargs: Any) -> None:
        super().__init__(save_dir, **kwargs)
        self._failed = False
        try:
            import_module(self.package)
        except ImportError as error:
            raise ValueError(
                expected(
                    "visualizer.vis_backends",
                    "backends whose packages are installed",
                    f"{type(self).__name__}, and {error}",
                    install_extra(self.extra),
                )
            ) from error

    def add_config(self, *args: Any, **kwargs: Any) -> None:
        """As the backend has it, until that fails."""
        self._attempt(super().add_config, *args, **kwargs)

    def add_graph(self, *args: Any, **kwargs: Any) -> None:
        """As the backend has it, until that fails."""
        self._attempt(super().add_graph, *args, **kwargs)

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        """As the backend has it, until that fails."""
        self._attempt(super().add_image, *args, **kwargs)

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """As the backend has it, until that fails."""
        self._attempt(super().add_scalar, *args, **kwargs)

    def add_scalars(self, *args: Any, **kwargs: Any) -> None:
        """As the backend has it, until that fails."""
        self._attempt(super().add_scalars, *args, **kwargs)

    def close(self) -> None:
        """Close what was opened, even after a failure: what was logged before it is kept."""
        level = logging.DEBUG if self._failed else logging.WARNING  # the cause has been told
        self._failed = False
        self._attempt(super().close, level=level)
        self._failed = True

    def _attempt(self, call: Callable[..., None], *args: Any, level: int = logging.WARNING, **kwargs: Any) -> None:
        if self._failed:
            return
        try:
            call(*args, **kwargs)
        except Exception as error:  # whatever a tracker raises: the training is worth more than its log
            self._failed = True
            print_log(
                f"{type(self).__name__} failed in {call.__name__} and is switched off; training goes on. "
                f"The cause: {type(error).__name__}: {error}",
                logger="current",
                level=level,
            )
