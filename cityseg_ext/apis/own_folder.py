"""Folders that we fill, and may fill again: known by a stamp, so that nobody else's files are lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cityseg_ext.checks import file_problem
from cityseg_ext.whole_file import inside, write_whole


class OwnFolder:
    """A folder that one function fills.

    Args:
        path: the folder; it must be new, empty, or filled earlier by the same function.
        generator: the function's name, which the stamp carries.
        stamp: the stamp's file name.

    Raises:
        ValueError: if the folder holds somebody else's files.
    """

    def __init__(self, path: str | Path, generator: str, stamp: str) -> None:
        self.path = Path(path)
        self.generator = generator
        self._stamp = self.path / stamp
        self._written = self._read_stamp()

    def is_filled(self, arguments: dict) -> bool:
        """Whether an earlier call with the same arguments has finished."""
        return self._written == arguments | {"generator": self.generator}

    def begin(self, earlier: Iterable[Path]) -> None:
        """Make the folder, and remove the files of an earlier call that the function knows by their names."""
        self.path.mkdir(parents=True, exist_ok=True)
        # Unfinished at first: a call that is interrupted is recognised, and its files may be replaced.
        self._write_stamp({})
        for path in [inside("folder", self.path, path.relative_to(self.path)) for path in earlier]:
            path.unlink()

    def write(self, name: str | Path, data: bytes) -> Path:
        """Write a file below the folder, whole or not at all."""
        path = inside("folder", self.path, name)
        write_whole(path, data)
        return path

    def finish(self, arguments: dict) -> None:
        """Write down that all files are there."""
        self._write_stamp(arguments)

    def _write_stamp(self, arguments: dict) -> None:
        self.write(self._stamp.name, json.dumps(arguments | {"generator": self.generator}).encode())

    def _read_stamp(self) -> dict | None:
        """What an earlier call wrote there; None for a folder that is new or empty."""
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return None
        try:
            stamp = json.loads(self._stamp.read_text())
        except (OSError, ValueError):
            stamp = None
        if not isinstance(stamp, dict) or stamp.get("generator") != self.generator:
            rule = f"an empty folder, or one that this function wrote (with its '{self._stamp.name}')"
            raise ValueError(file_problem(self.path, rule, "one with other files", "Choose another folder."))
        return stamp
