"""Writing files whole or not at all, and nowhere but below the folder that was asked for."""

from __future__ import annotations

import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cityseg_ext.checks import expected

PART_NAME = re.compile(r"\.[0-9a-f-]+\.cityseg-part")
"""Names of files that are being written; what a killed run has left of them may be removed."""


def part_name() -> str:
    """A name for a file that is being written; short, so that every name that the file will have fits too.

    No other thread, process or machine takes it. Numbers of processes would not do: containers that share a folder
    often have the same ones.
    """
    return f".{uuid.uuid4().hex}.cityseg-part"


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
    part = path.parent / part_name()
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; the folder is made if need be."""
    with whole_file(path) as part:
        part.write_bytes(data)


def remove_parts(folder: str | Path, older_than: float | None = None) -> None:
    """Remove what killed runs have left half-written, at any depth.

    Args:
        folder: where to look.
        older_than: seconds since it was written; what is younger may be in work, by another run. None removes all.
    """
    for parent, _, names in os.walk(folder):
        for part in (Path(parent, name) for name in names if PART_NAME.fullmatch(name)):
            with suppress(FileNotFoundError):  # whoever writes it is done meanwhile
                if older_than is None or time.time() - part.lstat().st_mtime > older_than:
                    part.unlink()


def check_writable(name: str, path: str | Path, cure: str = "") -> None:
    """Make a folder, and make sure that files can be written into it.

    Args:
        name: what the folder is called where the user gave it.
        path: the folder.
        cure: the advice if not.

    Raises:
        OSError: if not; the message names the folder and the cause.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        cause = f"{os.strerror(error.errno or 0)}. {cure}".strip()
        raise OSError(expected(name, "a folder that can be written", repr(str(path)), cause)) from error


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
