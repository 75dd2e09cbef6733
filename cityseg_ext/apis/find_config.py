"""The config that belongs to a checkpoint, where nobody names it."""

from __future__ import annotations

from pathlib import Path

from cityseg_ext.checks import expected, file_problem, shorten


def find_config(checkpoint: str) -> str:
    """The config that a training run has written beside its checkpoints.

    Args:
        checkpoint: path of a checkpoint.

    Returns:
        Path of the one ``.py`` file in the checkpoint's folder.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if there is no such file, or more than one; the message names ``--config``.
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise FileNotFoundError(expected("checkpoint", "an existing file", repr(checkpoint)))
    beside = sorted(path.parent.glob("*.py"))
    if len(beside) == 1:
        return str(beside[0])
    found = shorten([file.name for file in beside]) if beside else "none"
    rule = "a checkpoint with exactly one config (*.py) beside it, as training leaves it"
    raise ValueError(file_problem(checkpoint, rule, found, "Name the config with --config."))
