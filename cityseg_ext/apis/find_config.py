"""The config that belongs to a checkpoint, where nobody names it."""

from __future__ import annotations

from pathlib import Path

from cityseg_ext.apis.publish import is_published
from cityseg_ext.checks import file_problem, shorten


def find_config(checkpoint: str, trust: bool = False) -> str | None:
    """The config that a training run has written beside its checkpoints.

    Args:
        checkpoint: path of a checkpoint.
        trust: unpickle whatever it holds, which may run code.

    Returns:
        Path of the one ``.py`` file in the checkpoint's folder; None if the checkpoint is a published one, which has
        its config in it.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it cannot be read, or there is no such file, or more than one.
    """
    if is_published(checkpoint, trust):
        return None
    beside = sorted(Path(checkpoint).parent.glob("*.py"))
    if len(beside) == 1:
        return str(beside[0])
    found = shorten([file.name for file in beside]) if beside else "none"
    rule = "a checkpoint with exactly one config (*.py) beside it, as training leaves it, or a published one"
    raise ValueError(file_problem(checkpoint, rule, found, "Name its config too."))
