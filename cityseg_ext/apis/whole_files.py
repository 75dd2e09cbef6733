"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

PART_NAME = re.compile(r"\.\d+\.cityseg-part")
"""Names of files that are being written; what a killed run has left of them may be removed."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{os.getpid()}.cityseg-part"  # short, so that every name that the target may have fits
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
