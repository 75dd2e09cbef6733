"""Samples that cannot be read: met once, written down, and left out from then on."""

from __future__ import annotations

import json
import os
from pathlib import Path

ON_ERROR = ("raise", "skip")


class Quarantine:
    """The bad samples of a data set, by the paths of their photographs, and why they are bad.

    Loader processes have copies of a data set; what one of them meets, the file tells to all who read it later.

    Attributes:
        reasons: path -> reason.
        file: where they are written down, one JSON object a line; None keeps them in memory.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self.file: Path | None = None

    def __contains__(self, path: str) -> bool:
        return path in self.reasons

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, path: str, reason: str) -> None:
        """Take a sample in."""
        self.reasons[path] = reason
        if self.file is not None:
            line = json.dumps(dict(photo=path, reason=reason)) + "\n"
            # One write in append mode: lines of several processes do not mix.
            no_link = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
            handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | no_link, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)

    def read(self) -> None:
        """Take in what other processes, or an earlier part of the run, have written down."""
        if self.file is not None and self.file.is_file():
            for line in self.file.read_text().splitlines():
                try:
                    known = json.loads(line)
                    self.reasons.setdefault(known["photo"], known["reason"])
                except (ValueError, KeyError):  # the last line of a process that was killed: it will meet it again
                    continue
