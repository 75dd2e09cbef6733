"""Which photographs an argument means, and what the files written for them are called."""

from __future__ import annotations

import glob
import os
from collections import Counter
from pathlib import Path

from cityseg_ext.checks import expected, shorten
from cityseg_ext.datasets.files import stem_of, walk_files

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".ppm", ".pgm")
"""Names that are taken for photographs in a folder; a file that is named itself may end in anything."""


def find_images(source: str, without: str | None = None) -> dict[str, str]:
    """The photographs that a path, a folder or a pattern stands for.

    Args:
        source: an image file; a folder, searched at any depth; or a pattern such as ``'drive/**/*.png'``.
        without: a folder that is left out: where results are written, if that is inside ``source``.

    Returns:
        Name -> path, in the order of paths. The name is relative to the folder, or to what of the pattern comes before
        its first wildcard, and without suffix; where two files differ in nothing else, they keep theirs.

    Raises:
        FileNotFoundError: if there is no such file or folder, or no photograph in it.
    """
    if os.path.isfile(source):
        return {Path(source).stem: source}
    if os.path.isdir(source):
        root, paths = source, [path for path in walk_files(source) if stem_of(path, IMAGE_SUFFIXES) is not None]
    elif glob.has_magic(source):
        root, paths = _fixed_part(source), [path for path in glob.glob(source, recursive=True) if os.path.isfile(path)]
    else:
        cure = f"There are {near}." if (near := shorten(_neighbours(source))) else ""
        raise FileNotFoundError(expected("input", "an existing file or folder, or a pattern", repr(source), cure))
    if without is not None:
        left_out = os.path.realpath(without) + os.sep
        paths = [path for path in paths if not os.path.realpath(path).startswith(left_out)]
    if not paths:
        raise FileNotFoundError(expected("input", f"one with images ({', '.join(IMAGE_SUFFIXES)})", repr(source)))
    return _named(root, sorted(paths))


def _named(root: str, paths: list[str]) -> dict[str, str]:
    names = {path: os.path.relpath(path, root) for path in paths}
    # Some file systems do not tell upper case from lower.
    stems = Counter(os.path.splitext(name)[0].casefold() for name in names.values())
    short = {}
    for path, name in names.items():
        stem = os.path.splitext(name)[0]
        short[path] = stem if stems[stem.casefold()] == 1 else name
    taken = Counter(name.casefold() for name in short.values())
    clash = [path for path, name in short.items() if taken[name.casefold()] > 1]
    if clash:
        raise ValueError(
            expected("input", "images whose names differ in more than upper and lower case", shorten(clash, 4))
        )
    return {short[path]: path for path in paths}


def _fixed_part(pattern: str) -> str:
    parts = Path(pattern).parts
    first = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:first])) if first else "."


def _neighbours(path: str) -> list[str]:
    folder = os.path.dirname(path) or "."
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
