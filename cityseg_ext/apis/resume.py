"""Which checkpoint a run goes on from."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from cityseg_ext.apis.checkpoint import read_checkpoint
from cityseg_ext.checks import expected, file_problem
from cityseg_ext.hooks.exact_resume import RESUME_STATE


def set_resume(cfg: Config, resume: str | None, trust: bool = False) -> None:
    """Write into a config where its run begins.

    Args:
        cfg: the config; changed.
        resume: see :func:`~cityseg_ext.apis.runs.train`.
        trust: unpickle whatever the checkpoint holds.

    Raises:
        FileNotFoundError: if a checkpoint is named that is not there.
        ValueError: if it cannot be read safely; with ``'auto'``, if there are checkpoints and none of them can.
    """
    path = newest_checkpoint(cfg.work_dir, trust) if resume == "auto" else resume
    cfg.resume = path is not None
    cfg.load_from = path if path is not None else cfg.get("load_from")
    if cfg.load_from is None or "://" in cfg.load_from:
        return
    checkpoint = read_checkpoint(cfg.load_from, trust, name="resume" if cfg.resume else "load_from")
    if resume not in (None, "auto"):
        problem = _damage(resume)
        if problem is not None:
            raise problem
    if cfg.resume:
        _take_seed(cfg, checkpoint)


def newest_checkpoint(work_dir: str, trust: bool = False) -> str | None:
    """The newest checkpoint of a work dir that a run can go on from; the log says why a newer one is passed over.

    Checkpoints of weights alone, such as the best ones, are not meant. The age is that written in the file, so that
    copies of a work dir do as well.

    Args:
        work_dir: the folder.
        trust: unpickle whatever they hold.

    Returns:
        Its path; None if the folder holds none.

    Raises:
        ValueError: if there are some, and none of them is whole.
    """
    found: list[tuple[float, Path, ValueError | None]] = []
    for path in filter(Path.is_file, Path(work_dir).glob("*.pth")):  # links to nowhere are none
        changed = path.stat().st_mtime
        try:
            checkpoint = read_checkpoint(str(path), trust, lazily=True)
        except ValueError as error:
            found.append((changed, path, error))
        else:
            if isinstance(checkpoint, dict) and "optimizer" in checkpoint:
                found.append((checkpoint.get(RESUME_STATE, {}).get("time", changed), path, None))
    problems = []
    for _, path, problem in sorted(found, key=lambda item: item[:2], reverse=True):
        problem = problem or _damage(path)
        if problem is None:
            print_log(f"Going on from {path}", logger="current")
            return str(path)
        print_log(f"Not resumed from a newer file: {problem}", logger="current", level=logging.WARNING)
        problems.append(problem)
    if problems:
        cure = f"Give another with --resume CHECKPOINT, or move them away to start anew. The newest: {problems[0]}"
        raise ValueError(expected("resume", f"possible from '{work_dir}'", f"{len(problems)} damaged files", cure))
    return None


def _damage(path: str | Path) -> ValueError | None:
    """Compare all bytes with the checksums in the file, which PyTorch does not do."""
    if not zipfile.is_zipfile(path):  # the format of PyTorch before 1.6, which has no checksums
        return None
    try:
        with zipfile.ZipFile(path) as file:
            bad = file.testzip()
    except zipfile.BadZipFile as error:
        bad = str(error)
    return None if bad is None else ValueError(file_problem(path, "a whole checkpoint", f"wrong checksums ({bad})"))


def _take_seed(cfg: Config, checkpoint: object) -> None:
    """Go on with the seed of the run, which mmengine would give to all but the samplers."""
    seed = checkpoint.get("meta", {}).get("seed") if isinstance(checkpoint, dict) else None
    randomness = dict(cfg.get("randomness") or {})
    if seed is None or randomness.get("seed") == seed:
        return
    if randomness.get("seed") is not None:
        message = f"The run began with seed {seed} and goes on with it; the config says {randomness['seed']}."
        print_log(message, logger="current", level=logging.WARNING)
    cfg.randomness = dict(randomness, seed=seed)
