"""Decoded labels in files: what was decoded in the first epoch is only read in the others."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from cityseg_ext.whole_file import check_writable, write_whole

_VERSION = 1  # of what is decoded and how it is kept: raise it when decoding gives other indices than before
_CURE = "Choose another folder, or do without the cache."


class LabelCache:
    """Class indices of label files, in a folder.

    There is one entry for each label file and each way to decode it. An entry is used while the label file has the size
    and the time of change that it had then, and is replaced otherwise. Entries appear whole or not at all, so that
    any number of processes may share a folder. A mask of a 1024 x 2048 scene takes some 40 KB, and 2 ms to read.

    Args:
        folder: made if need be. It may be deleted at any time.

    Raises:
        OSError: if the folder cannot be made or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._full = False
        check_writable("cache_dir", folder, _CURE)

    def read(self, path: str, settings: str) -> np.ndarray | None:
        """The class indices of a label file.

        Args:
            path: the label file.
            settings: everything that decides, beside the file, what is decoded.

        Returns:
            uint8 (H, W); None if there is no entry, or none that fits the label file as it is now.
        """
        entry = self._entry(path, settings)
        try:
            header, _, pixels = zlib.decompress(entry.read_bytes()).partition(b"\n")
            found = json.loads(header)
            if found["file"] != _state(path):
                return None
            return np.frombuffer(bytearray(pixels), np.uint8).reshape(found["shape"])
        except FileNotFoundError:  # the entry; or the label, which its reader will complain about
            return None
        except (OSError, zlib.error, ValueError, KeyError, TypeError) as error:
            message = f"'{path}' is decoded again: its entry '{entry}' of the label cache is damaged ({error})."
            print_log(message, logger="current", level=logging.WARNING)
            return None

    def write(self, path: str, settings: str, state: list[int], indices: np.ndarray) -> None:
        """Keep the class indices of a label file; on a full disk, say so once and keep no more.

        Args:
            path: the label file.
            settings: as in :meth:`read`.
            state: :func:`file_state` of the label file from before it was decoded.
            indices: uint8 (H, W).
        """
        if self._full:
            return
        header = json.dumps(dict(file=state, shape=indices.shape)).encode()
        data = zlib.compress(header + b"\n" + indices.tobytes(), level=1)
        try:
            write_whole(self._entry(path, settings), data)
        except OSError as error:
            self._full = True
            message = f"Labels are no longer kept in '{self.folder}': {error}. Training goes on without."
            print_log(message, logger="current", level=logging.WARNING)

    def _entry(self, path: str, settings: str) -> Path:
        name = f"{_VERSION}\n{settings}\n{os.path.abspath(path)}".encode(errors="surrogateescape")  # not all are UTF-8
        return self.folder / f"{hashlib.sha256(name).hexdigest()[:32]}.label"


def file_state(path: str) -> list[int] | None:
    """Size and time of change of a file; None if there is no such file."""
    try:
        return _state(path)
    except FileNotFoundError:
        return None


def _state(path: str) -> list[int]:
    known = os.stat(path)
    return [known.st_size, known.st_mtime_ns]
