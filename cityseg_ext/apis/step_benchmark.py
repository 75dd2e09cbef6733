"""Where the time of a training step goes: short runs with every part timed."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from cityseg_ext.apis.class_balance import fill_statistics
from cityseg_ext.apis.data_options import set_data_root
from cityseg_ext.apis.processes import usable_cores
from cityseg_ext.apis.runner import build_runner
from cityseg_ext.apis.step_times import ENOUGH, WAIT, StepBenchmark, StepTimes
from cityseg_ext.apis.stopwatch import Stopwatch
from cityseg_ext.apis.synthetic_cityscapes import write_synthetic_cityscapes
from cityseg_ext.apis.synthetic_pairs import write_synthetic_pairs
from cityseg_ext.checks import check_at_least, expected
from cityseg_ext.hooks.dataset_parts import parts_of
from cityseg_ext.hooks.segmentor import heads_of, segmentor_of

_IMAGES = 16  # that are loaded one by one
_SCENES, _SCENE = 8, (1024, 2048)  # of the size of Cityscapes


def benchmark_step(
    cfg: Config,
    steps: int = 10,
    warm_up: int = 3,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> StepBenchmark:
    """Train for a few steps, as :func:`~cityseg_ext.apis.train` would, and time every part.

    The first run has the config's number of workers, then come 0, 1, 2 and so on, until they are enough or as many as
    there are cores. Weights are random, images are drawn at random without end, nothing is validated or saved. On a
    CUDA device each part waits for the device, so that its work counts where it was asked for.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`.
        steps: that are timed in each run.
        warm_up: steps before them that are not: memory is allocated, files are cached, the first batches come late.
        progress: called with (steps done, steps in all; fewer are made if few workers are enough).

    Returns:
        The times.

    Raises:
        ValueError: if ``steps`` is less than 1, or the config asks for ``torch.compile``, which knows no parts.
        FileNotFoundError, ValueError: as in training, where data or config are wrong.
    """
    check_at_least("steps", steps, 1)
    check_at_least("warm_up", warm_up, 0)
    if cfg.get("compile"):
        raise ValueError(expected("compile", "left out here: a compiled step has no parts", cfg.compile))
    # Windows removes no log that is still open, as mmengine leaves it.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        cfg = _short_run(cfg, warm_up + steps, folder)
        configured = cfg.train_dataloader.num_workers
        numbers = [configured, *(number for number in range(usable_cores() + 1) if number != configured)]
        total = len(numbers) * (warm_up + steps)
        runs: list[StepTimes] = []
        for number in numbers:
            gc.collect()  # ends the workers of the run before
            before = len(runs) * (warm_up + steps)
            runner, times = _time_steps(cfg, number, warm_up, lambda done: progress(before + done, total))  # noqa: B023
            runs.append(times)
            if number == configured:
                memory = _peak_memory()
                loading, collate = _time_loading(runner)
            if times.wait_share <= ENOUGH and (number != configured or number == 0):
                break
        progress(total, total)
    return StepBenchmark(loading, collate, tuple(runs), *memory)


def _short_run(cfg: Config, iterations: int, folder: str) -> Config:
    """The config's training steps, without anything before, between and after them."""
    cfg = copy.deepcopy(cfg)
    fill_statistics(cfg)  # counts are kept in the work dir of the real run
    cfg.work_dir = folder
    cfg.launcher = "none"
    for name in ("val_cfg", "val_dataloader", "val_evaluator", "test_cfg", "test_dataloader", "test_evaluator"):
        cfg[name] = None
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler")  # others start anew after few images, with a pause
    cfg.param_scheduler = cfg.load_from = None
    cfg.resume = False
    cfg.model.backbone.init_cfg = None  # frozen stages stay frozen
    cfg.log_processor = dict(by_epoch=False)
    cfg.setdefault("default_hooks", {})["checkpoint"] = None
    for name in ("progress_bar", "stop_signals"):  # Ctrl-C ends it at once: there is nothing to save
        cfg.default_hooks.pop(name, None)
    # Without validation it would ask in vain for the score that it watches.
    cfg.custom_hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook.type != "EarlyStoppingHook"]
    return cfg


def _time_steps(cfg: Config, workers: int, warm_up: int, progress: Callable[[int], None]) -> tuple[Runner, StepTimes]:
    cfg = copy.deepcopy(cfg)
    cfg.pop("experiment_name", None)
    cfg.train_dataloader.num_workers = workers
    cfg.train_dataloader.persistent_workers = False  # they end with this run
    if workers == 0:
        cfg.train_dataloader.pop("prefetch_factor", None)
    hook = _TimingHook(progress)
    with contextlib.redirect_stdout(io.StringIO()):  # the log is written, as in training, but nobody needs to see it
        runner = build_runner(cfg)
        runner.register_hook(hook, priority="LOWEST")
        runner.train()
    return runner, StepTimes(workers, cfg.train_dataloader.batch_size, hook.watch.steps[warm_up:])


class _TimingHook(Hook):
    """Puts a stopwatch to the parts of a runner's steps; the last of the hooks, because others change methods too."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        on_cuda = torch.cuda.is_available()
        self.watch = Stopwatch(torch.cuda.synchronize) if on_cuda else Stopwatch()
        self.progress = progress

    def before_train(self, runner: Runner) -> None:
        model, watch, loop = segmentor_of(runner.model), self.watch, runner.train_loop
        loop.dataloader_iterator = self._timed(loop.dataloader_iterator)
        wrapped = [
            (model.data_preprocessor, "cast_data", "to the device"),
            (model.data_preprocessor, "forward", "normalise, pad"),
            (model, "_run_forward", "forward"),
            (model, "parse_losses", "loss"),
            *((head, "loss_by_feat", "loss") for _, head in heads_of(model)),
            (runner.optim_wrapper, "backward", "backward"),
            (runner.optim_wrapper, "step", "optimiser"),
            (runner.optim_wrapper, "zero_grad", "optimiser"),
            (runner, "call_hook", "hooks, log"),
        ]
        for owner, method, name in wrapped:
            watch.wrap(owner, method, name)
        watch.start()

    def _timed(self, batches: Iterator) -> Iterator:
        while True:
            with self.watch.part(WAIT):
                batch = next(batches)
            yield batch
            self.watch.finish_step()  # the loop is back for the next one
            self.progress(len(self.watch.steps))

    def after_train(self, runner: Runner) -> None:
        self.watch.finish_step()


def _time_loading(runner: Runner) -> tuple[dict[str, list[float]], list[float]]:
    """Transforms of single images, and collating them, in this process; files have been read before."""
    loader = runner.train_loop.dataloader
    dataset = next(parts_of(loader.dataset))
    times: dict[str, list[float]] = {}
    samples = []
    for timed in (False, True):
        for index in range(0, len(dataset), max(1, len(dataset) // _IMAGES)):
            sample = dataset.get_data_info(index)
            seen: dict[str, int] = {}
            for transform in dataset.pipeline.transforms:
                name = type(transform).__name__
                seen[name] = seen.get(name, 0) + 1
                start = time.perf_counter()
                sample = transform(sample)
                seconds = time.perf_counter() - start
                if timed:
                    times.setdefault(name if seen[name] == 1 else f"{name} {seen[name]}", []).append(seconds)
            samples.append(sample)
    batch = [samples[index % len(samples)] for index in range(runner.cfg.train_dataloader.batch_size)]
    collate = []
    for _ in range(5):
        start = time.perf_counter()
        loader.collate_fn(batch)
        collate.append(time.perf_counter() - start)
    return times, collate


def _peak_memory() -> tuple[int | None, str]:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated(), "tensors on the GPU"
    if sys.platform == "win32":
        return None, "memory of the training process"
    import resource  # is not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024), "memory of the training process"


def use_synthetic_scenes(cfg: Config, progress: Callable[[int, int], None] | None = None) -> None:
    """Put built-in scenes, written below the work dir, in the place of the config's data.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`; changed.
        progress: called with (scenes done, scenes in all).
    """
    if cfg.train_dataloader.dataset.type == "CityscapesPairsDataset":
        root = write_synthetic_pairs(Path(cfg.work_dir, "synthetic_pairs"), _IMAGES, 1, progress=progress)
    else:
        height, width = _SCENE
        folder = Path(cfg.work_dir, f"synthetic_{height}x{width}")
        root = write_synthetic_cityscapes(folder, _SCENES, 1, height, width, progress=progress)
    set_data_root(cfg, str(root))
