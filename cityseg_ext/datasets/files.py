"""Finding files."""

from __future__ import annotations

import os
from collections.abc import Iterator


def walk_files(folder: str) -> Iterator[str]:
    """All files below a folder but hidden ones; links to folders are followed, each real folder being entered once."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            if not name.startswith("."):
                yield os.path.join(parent, name)
