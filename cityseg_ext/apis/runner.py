"""MMEngine's Runner as this package uses it: it loads safely, and gives back what it has taken of the process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils.manager import _release_lock

from cityseg_ext.apis.checkpoint import safe_loading, warn_of_trust
from cityseg_ext.apis.torchvision_guard import hide_broken_torchvision
from cityseg_ext.optim.sharded import ShardedRunner

_RUN_NUMBERS = itertools.count(1)
_MMENGINES = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")  # its default hooks


class WithManners:
    """Loads safely whatever it loads; the checkpoint that it goes on or starts from is trusted if its caller does.

    However a run ends, hooks give back what they took of the process: its signals, its terminal.
    """

    trust = False

    def train(self):
        with safe_loading(), self._released():
            return super().train()

    def test(self):
        with self._released():
            return super().test()

    def register_default_hooks(self, hooks=None):
        """``None`` switches any hook off: mmengine itself knows that of its own, and fails with others."""
        wanted = {name: hook for name, hook in (hooks or {}).items() if hook is not None or name in _MMENGINES}
        super().register_default_hooks(wanted)

    def load_checkpoint(self, filename, *args, **kwargs):
        with self._loading(filename):
            return super().load_checkpoint(filename, *args, **kwargs)

    def _loading(self, filename):
        if self.trust:
            warn_of_trust(filename)
        return safe_loading(repr(filename), self.trust)

    @contextmanager
    def _released(self) -> Iterator[None]:
        try:
            yield
        finally:
            for hook in self.hooks:
                if hasattr(hook, "release"):
                    hook.release()


class _Runner(WithManners, Runner):
    pass


class _TestRunner(_Runner):
    def dump_config(self):
        """Nothing: the config in the work dir is the training's, and ``vis_data`` of this run has its own."""


class _ShardedRunner(WithManners, ShardedRunner):
    def resume(self, filename, *args, **kwargs):  # not by way of load_checkpoint, as Runner does
        with self._loading(filename):
            return super().resume(filename, *args, **kwargs)


def build_runner(cfg: Config, trains: bool = True) -> _Runner | _ShardedRunner:
    """A runner with a name of its own: mmengine shares logger and visualizer between runs of one name.

    Args:
        cfg: the config.
        trains: whether it trains; one that only tests leaves the config that training has put into the work dir.

    Returns:
        The runner.
    """
    if (cfg.get("randomness") or {}).get("deterministic"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it PyTorch refuses matrix products
    hide_broken_torchvision()
    cfg.setdefault("experiment_name", f"{Path(cfg.filename).stem}_{next(_RUN_NUMBERS)}")
    sharded = cfg.get("strategy") is not None
    kind = _ShardedRunner if sharded else _Runner if trains else _TestRunner
    with _mmengine_unlocked():
        runner = kind.from_cfg(cfg)
    if sharded:
        runner.model = runner.strategy.build_model(runner.model)  # as Runner does, which others look at before the run
    return runner


@contextmanager
def _mmengine_unlocked() -> Iterator[None]:
    """Give mmengine's lock back where mmengine does not.

    It builds loggers and visualizers holding the lock of all its shared objects, and keeps that where one of them
    raises. The thread itself notices nothing; any other that builds something afterwards, for example one that trains
    in a notebook, would wait for ever.
    """
    try:
        yield
    except BaseException:
        try:
            while True:
                _release_lock()
        except RuntimeError:  # nothing is held any more
            pass
        raise
