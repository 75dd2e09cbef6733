"""Finding files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence

from cityseg_ext.checks import expected, shorten


def walk_files(folder: str) -> Iterator[str]:
    """All files below a folder but hidden ones; links to folders are followed, each real folder being entered once."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort(key=lambda name: (os.path.islink(os.path.join(parent, name)), name))  # names do not depend on luck
        for name in files:
            if not name.startswith("."):
                yield os.path.join(parent, name)


def find_files(
    folder: str, suffixes: Sequence[str], *, root: str, what: str, root_cure: str, suffix_cure: str
) -> dict[str, str]:
    """The files below a folder whose names end in given ways.

    Args:
        folder: where to look, at any depth.
        suffixes: ends of names; upper and lower case are the same.
        root: the data set's ``data_root``, which the error message describes where the folder is missing.
        what: what the files are, in the plural, for error messages.
        root_cure: the advice where the folder is missing.
        suffix_cure: the advice where the folder has no such file.

    Returns:
        Path relative to the folder, without the suffix -> path.

    Raises:
        FileNotFoundError: if the folder is missing, or has no such file.
        ValueError: if two files differ in their suffix only: what is written for them later would have one name.
    """
    if not os.path.isdir(folder):
        there = sorted(os.listdir(root or ".")) if os.path.isdir(root or ".") else None
        found = f"it has {shorten(there, 8) or 'nothing'}" if there is not None else "there is no such folder"
        rule = f"a folder with {what} in '{os.path.relpath(folder, root or '.')}'"
        raise FileNotFoundError(expected("data_root", rule, f"'{root or '.'}': {found}", root_cure))
    stems, others = files_by_stem(folder, suffixes)
    if not stems:
        raise FileNotFoundError(
            f"Expected files '*{' or *'.join(suffixes)}' ({what}) in '{folder}', but found "
            f"{len(others)} other files: {shorten(sorted(others), 3) or 'none'}. {suffix_cure}"
        )
    return stems


def files_by_stem(folder: str, suffixes: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Files below a folder whose names end in one of some suffixes; upper and lower case are the same.

    Args:
        folder: where to look, at any depth.
        suffixes: ends of names; the first that fits is taken off.

    Returns:
        Stem relative to the folder -> path; and the names, relative to the folder, of all other files.

    Raises:
        ValueError: if two files have the same stem.
    """
    stems: dict[str, str] = {}
    others: list[str] = []
    for path in walk_files(folder):
        name = os.path.relpath(path, folder)
        stem = stem_of(name, suffixes)
        if stem is None:
            others.append(name)
            continue
        if stem in stems:
            raise ValueError(f"Expected one file for '{stem}', but got '{stems[stem]}' and '{path}'. Remove one.")
        stems[stem] = path
    return stems, others


def read_pairs(path: str, root: str) -> list[tuple[str, str]]:
    """Pairs of files that a CSV file lists, one ``photograph,label`` a line; a first line of these words is a heading.

    Args:
        path: the CSV file, in UTF-8.
        root: the folder that its paths are relative to.

    Returns:
        Photograph and label of each line, in its order.

    Raises:
        FileNotFoundError: if there is no such file, or a file that it lists is not there; the message names the line.
        ValueError: if it is no CSV file in UTF-8, a line has not two columns, or there is none.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets begin a file with a mark of its own
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if any(row)]
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(expected("ann_file", "an existing CSV file", f"'{path}'")) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            expected("ann_file", "a CSV file in UTF-8", f"'{path}': {error}", "Save it as such.")
        ) from error
    if rows and [cell.strip().lower() for cell in rows[0][1]] == ["photograph", "label"]:
        rows = rows[1:]
    if not rows:
        raise ValueError(expected("ann_file", "a CSV file of lines 'photograph,label'", f"'{path}' without any"))
    pairs = []
    for number, row in rows:
        if len(row) != 2:
            found = f"{len(row)} columns in line {number} of '{path}'"
            raise ValueError(expected("ann_file", "a CSV file of lines 'photograph,label'", found))
        photo, label = (os.path.join(root, cell.strip()) for cell in row)
        for file in (photo, label):
            if not os.path.isfile(file):
                found = f"no file '{file}', which line {number} of '{path}' names"
                raise FileNotFoundError(expected("ann_file", f"a list of files below '{root or '.'}'", found))
        pairs.append((photo, label))
    return pairs


def stem_of(name: str, suffixes: Sequence[str]) -> str | None:
    """A name without the first of the suffixes that it ends in, in upper or lower case; None if it has none.

    Example:
        >>> stem_of("a_Color.PNG", ["_color.png", ".png"]), stem_of("a.txt", [".png"])
        ('a', None)
    """
    suffix = next((suffix for suffix in suffixes if name.lower().endswith(suffix.lower())), None)
    return None if suffix is None else name[: -len(suffix)]
