"""Whether a folder or zip is what the Cityscapes benchmark expects, before it is uploaded."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from cityseg_ext.apis.submission_findings import Refused, SubmissionCheck, gather
from cityseg_ext.apis.submission_photos import SPLITS, missing_photos, photo_size, wanted_size
from cityseg_ext.apis.submission_png import count_ids
from cityseg_ext.apis.submission_values import find_wrong_values
from cityseg_ext.apis.submission_zip import ZipMembers
from cityseg_ext.checks import check_choice, expected
from cityseg_ext.labels import (
    LABEL_BY_ID,
    PREDICTION_NAME,
    SPLIT_CITIES,
    SPLIT_IMAGES,
)


def check_submission(
    path: str | Path,
    split: str = "test",
    size: tuple[int, int] | None = None,
    photos: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SubmissionCheck:
    """Check label maps as the evaluation server will look for them, and tell everything that is wrong.

    Nothing is written, and nothing is unpacked: archives of strangers may be given. Files of the folder and members of
    the zip are read one at a time; those that are unsafe, or larger than a label map can be, are not read.

    Args:
        path: a folder or a zip; label maps may lie at any depth.
        split: ``'test'`` or ``'val'``.
        size: (H, W) that every label map must have. By default the official 1024x2048; on val with photographs at hand
            each one's own, so that other data in the Cityscapes tree can be rehearsed with.
        photos: the photographs of the split, key ``<city>_<sequence>_<frame>`` -> path: exactly these must have label
            maps. Without them the number of images and their cities are checked.
        progress: called with (files read, files in all).

    Raises:
        FileNotFoundError: if there is nothing at ``path``.
        ValueError: if an option is wrong, or ``path`` is neither a folder nor a file.
    """
    path = Path(path)
    check_choice("split", split, SPLITS)
    size = wanted_size(split if photos is not None else "test", size)
    if not path.exists():
        raise FileNotFoundError(expected("check", "a folder or a zip of label maps", f"'{path}', which is not there"))
    if not path.is_dir() and not path.is_file():  # reading a pipe would wait for ever
        raise ValueError(expected("check", "a folder or a zip of label maps", f"'{path}', which is neither"))
    source = _FolderFiles(path) if path.is_dir() else ZipMembers(path)
    refused = list(source.refused)
    counts, palettes = _read_all(source, size, photos, refused, progress)
    images = _images(source.names)
    if not source.names and not refused:
        refused.append(Refused("empty", str(path)))
    elif not any(refusal.kind == "archive" for refusal in refused):
        refused += _wrong_names(source.names)
        refused += _wrong_images(images, split, photos)
    refused += [Refused("palette", name) for name in palettes]
    total = sum(counts.values(), np.zeros(256, np.int64))
    return SubmissionCheck(
        path=path,
        split=split,
        files=source.files,
        images=len(images),
        pixels={value: int(total[value]) for value in np.flatnonzero(total).tolist() if value in LABEL_BY_ID},
        findings=gather([*refused, *find_wrong_values(counts)]),
    )


class _FolderFiles:
    """The files of a folder, hidden ones too, as :class:`ZipMembers` has those of a zip."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names: list[str] = []
        self.refused: list[Refused] = []
        for parent, folders, names in os.walk(path, onerror=self._unreadable):
            for name in sorted(names + folders):
                file = Path(parent, name)
                kind = file.lstat().st_mode
                if stat.S_ISREG(kind):
                    self.names.append(file.relative_to(path).as_posix())
                elif not stat.S_ISDIR(kind):
                    self.refused.append(Refused("link", file.relative_to(path).as_posix()))
        self.names.sort()
        self.files = len(self.names) + len(self.refused)

    def read(self, name: str, limit: int) -> bytes:
        """The content of a file, if it is not larger than ``limit``."""
        path = self._path / name
        try:
            if path.stat().st_size > limit:
                raise Refused("too large", f"{name} ({path.stat().st_size} bytes)")
            return path.read_bytes()
        except OSError as error:
            raise Refused("unreadable", f"{name} ({error.strerror})") from error

    def _unreadable(self, error: OSError) -> None:
        self.refused.append(Refused("unreadable", f"{error.filename} ({error.strerror})"))


def _read_all(
    source: _FolderFiles | ZipMembers,
    size: tuple[int, int] | None,
    photos: Mapping[str, str] | None,
    refused: list[Refused],
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Values of every label map that can be read, and which are palette images; adds to ``refused``."""
    counts: dict[str, np.ndarray] = {}
    palettes = []
    for done, name in enumerate(source.names, start=1):
        photo = (photos or {}).get(_key(name) or "")
        wanted = size or (None if photo is None else photo_size(photo))
        if wanted is not None and _is_png(name):
            try:
                # Even uncompressed a label map is not larger; the rest is for notes in the file.
                data = source.read(name, 2 * wanted[0] * wanted[1] + (1 << 20))
                counts[name], palette = count_ids(name, data, wanted)
                palettes += [name] if palette else []
            except Refused as refusal:
                refused.append(refusal)
        if progress is not None:
            progress(done, len(source.names))
    return counts, palettes


def _is_png(name: str) -> bool:
    parts = name.split("/")
    return name.lower().endswith(".png") and not parts[-1].startswith(".") and "__MACOSX" not in parts


def _key(name: str) -> str | None:
    """The image that the evaluation takes a file for."""
    match = PREDICTION_NAME.fullmatch(name.rpartition("/")[2])
    return match.group(1) if match and _is_png(name) else None


def _images(names: list[str]) -> dict[str, list[str]]:
    """Files by image."""
    images: dict[str, list[str]] = {}
    for name in names:
        key = _key(name)
        if key is not None:
            images.setdefault(key, []).append(name)
    return images


def _wrong_names(names: list[str]) -> Iterator[Refused]:
    for name in names:
        if not _is_png(name):
            yield Refused("foreign", name)
        elif _key(name) is None:
            yield Refused("name", name)


def _wrong_images(images: dict[str, list[str]], split: str, photos: Mapping[str, str] | None) -> Iterator[Refused]:
    for key, names in images.items():
        if len(names) > 1:
            yield Refused("several", f"{key}: {' and '.join(names[:3])}")
    if photos is not None:
        problem = missing_photos(photos, split)
        if problem is not None:
            yield Refused("photographs" if split == "test" else "other photographs", problem)
        yield from (Refused("missing", key) for key in photos if key not in images)
        yield from (Refused("surplus", key) for key in images if key not in photos)
        return
    if len(images) != SPLIT_IMAGES[split]:
        yield Refused("count", f"{len(images)}, but {split} has {SPLIT_IMAGES[split]}")
    for key in images:
        if not key.startswith(tuple(f"{city}_" for city in SPLIT_CITIES[split])):
            yield Refused("surplus", key)
