"""Checkpoint files that are whole, or not there."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from cityseg_ext.checks import file_problem
from cityseg_ext.whole_file import replacing

BACKEND = "cityseg_whole_file"
"""The name to ask mmengine for it: ``backend_args=dict(backend=BACKEND)``."""


class WholeFileBackend(LocalBackend):
    """mmengine's local files, written so that a reader, or the next run, never meets half of one.

    Data goes into another file of the same folder and on to the disk; then that file takes the name, in one step.
    The folder must be there: one that has vanished was perhaps a disk that is no longer mounted.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole.

        Raises:
            OSError: if the disk is full, cannot be written, or the folder is gone. What was there before still is.
        """
        path = Path(filepath)
        try:
            with replacing(path) as part, open(part, "wb") as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())  # a power cut must not leave the name without the data
            _sync_folder(path.parent)
        except OSError as error:
            cure = "Earlier checkpoints are as they were: make room or mount the disk, and go on with --resume."
            message = file_problem(path, "a file that can be written", os.strerror(error.errno or 0), cure)
            raise OSError(message) from error

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write a text file whole; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)


def _sync_folder(folder: Path) -> None:
    """Put the new name on to the disk too."""
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


register_backend(BACKEND, WholeFileBackend, force=True)
