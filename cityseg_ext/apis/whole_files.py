"""Folders that files are written into."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cityseg_ext.checks import expected
from cityseg_ext.whole_file import PART_NAME


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
