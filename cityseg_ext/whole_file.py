"""Writing files whole or not at all, and nowhere but below the folder that was asked for."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cityseg_ext.checks import expected

PART_NAME = re.compile(r"\.\d+-\d+\.cityseg-part")
"""Names of files that are being written; what a killed run has left of them may be removed."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """As :func:`replacing`; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        yield part


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The name of a file to write, which then takes the place of ``path``; if an error leaves the block, it does not.

    If ``path`` is a link, the link is replaced, and what it led to stays as it is.
    """
    # Short, so that every name that the target may have fits; no two threads share it.
    part = path.parent / f".{os.getpid()}-{threading.get_native_id()}.cityseg-part"
    try:
        part.unlink(missing_ok=True)  # it may be a link that somebody has put there
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; the folder is made if need be."""
    with whole_file(path) as part:
        part.write_bytes(data)


def inside(argument: str, folder: str | Path, name: str | Path) -> Path:
    """The path of a file to write below a folder, if that is where it lies.

    Args:
        argument: what the folder is called where the user gave it.
        folder: the folder; it may be a link itself.
        name: the file's name relative to it, with folders in between.

    Raises:
        ValueError: if a ``..`` or a link in between leads out of the folder.

    Example:
        >>> inside("out_dir", "results", "ulm/a.png").as_posix()
        'results/ulm/a.png'
        >>> inside("out_dir", "results", "../a.png")
        Traceback (most recent call last):
        ...
        ValueError: Expected `out_dir` to be a folder out of which nothing leads, but got 'results', and '../a.png'...
    """
    path = Path(folder, name)
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder)):
        found = f"'{folder}', and '{name}' lies in '{os.path.realpath(path.parent)}'"
        cure = "Choose another folder, or remove the link."
        raise ValueError(expected(argument, "a folder out of which nothing leads", found, cure))
    return path
