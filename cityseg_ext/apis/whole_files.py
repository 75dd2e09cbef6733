"""Writing: into folders that can be written, and files whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cityseg_ext.checks import expected

PART_NAME = re.compile(r"\.\d+-\d+\.cityseg-part")
"""Names of files that are being written; what a killed run has left of them may be removed."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The name of a file to write, which then takes the place of ``path``; if an error leaves the block, it does not.

    The folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short, so that every name that the target may have fits; no two threads share it.
    part = path.parent / f".{os.getpid()}-{threading.get_native_id()}.cityseg-part"
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


def remove_parts(folder: str | Path) -> None:
    """Remove what killed runs have left half-written, at any depth."""
    for parent, _, names in os.walk(folder):
        for name in filter(PART_NAME.fullmatch, names):
            Path(parent, name).unlink()


def check_writable(name: str, path: str) -> None:
    """Make a folder, and make sure that files can be written into it.

    Args:
        name: what the folder is called where the user gave it.
        path: the folder.

    Raises:
        OSError: if not; the message names the folder and the cause.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(
            expected(name, "a folder that can be written", repr(str(path)), f"{os.strerror(error.errno or 0)}.")
        ) from error
