"""Which label files of a tree are converted to which class maps, and which need not or must not be."""

from __future__ import annotations

import os
from pathlib import Path

from cityseg_ext.apis.mask_file import Conversion, Job, MaskFacts, is_current, read_note
from cityseg_ext.checks import expected, shorten
from cityseg_ext.datasets.files import files_by_stem, stem_of, walk_files
from cityseg_ext.labels import LABEL_SUFFIXES, PAIR_SUFFIXES, PHOTO_SUFFIXES
from cityseg_ext.whole_file import inside

PAIRS = "pairs"
TARGETS = ("train_ids", "label_ids")


def find_labels(src: str | Path, dst: str | Path, source: str, label_suffix: str | None, suffix: str) -> dict[str, str]:
    """Label files by stem, in the order of their paths; masks of an earlier run are none.

    Args:
        src: folder of label files.
        dst: folder of masks.
        source: what the files hold.
        label_suffix: end of their names; by default the usual ones.
        suffix: end of mask names.

    Raises:
        FileNotFoundError: if there is no folder or no file.
        ValueError: if two files have one stem, or the next run could take masks for labels.
    """
    if not suffix.lower().endswith(".png") or os.path.basename(suffix) != suffix:
        raise ValueError(expected("suffix", "the end of a file name, with .png", repr(suffix)))
    suffixes = (label_suffix,) if label_suffix else PAIR_SUFFIXES if source == PAIRS else (LABEL_SUFFIXES[source],)
    _check_folder("src", src)
    stems, others = files_by_stem(str(src), suffixes)
    if not stems:
        raise _no_files("src", src, suffixes, others, "label_suffix")
    if any(suffix.lower().endswith(end.lower()) or end.lower().endswith(suffix.lower()) for end in suffixes):
        stems = _without_masks(stems, dst, suffixes, suffix)
    return dict(sorted(stems.items()))


def find_missing(
    src: str | Path,
    labels: dict[str, str],
    source: str,
    photos: str | Path | None,
    label_suffix: str | None,
    photo_suffix: str | None,
) -> dict[str, str]:
    """Photographs without a label: path -> reason.

    Args:
        src: folder of label files.
        labels: what :func:`find_labels` has found.
        source: what the files hold.
        photos: folder of photographs; by default that beside ``src``, if it is there.
        label_suffix: end of label names; by default the usual one.
        photo_suffix: end of photograph names; by default the usual ones.

    Raises:
        FileNotFoundError: if a folder was named that is not there, or has no photograph.
        ValueError: if one was named for pairs, which hold their photographs.
    """
    if source == PAIRS and photos is not None:
        raise ValueError(expected("photos", "left out for pairs, which hold their photographs", repr(str(photos))))
    suffixes = (photo_suffix,) if photo_suffix else PHOTO_SUFFIXES
    given = photos is not None
    if given:
        _check_folder("photos", photos)
    elif source != PAIRS and label_suffix is None:
        photos = _photos_beside(Path(src))
    if photos is None:
        return {}
    stems = {path: stem_of(os.path.relpath(path, photos), suffixes) for path in sorted(walk_files(str(photos)))}
    if given and not any(stems.values()):
        raise _no_files("photos", photos, suffixes, list(stems), "photo_suffix")
    end = label_suffix or LABEL_SUFFIXES[source]
    return {
        path: f"no label '{Path(src, stem)}{end}'"
        for path, stem in stems.items()
        if stem is not None and stem not in labels
    }


def plan(
    labels: dict[str, str],
    dst: Path,
    suffix: str,
    conversion: Conversion,
    max_images: int | None,
    overwrite: bool,
) -> tuple[list[Job], dict[Job, MaskFacts]]:
    """What is to do, and what an earlier run has done.

    Returns:
        Jobs; and the facts about the masks that are there already.

    Raises:
        ValueError: if a mask would be written over a label, over a file that is not of this conversion, or through a
            link out of the folder.
    """
    inputs = {_identity(label) for label in labels.values()} - {None}
    todo, done, foreign = [], {}, []
    for stem, label in list(labels.items())[:max_images]:
        job = Job(label, str(inside("dst", dst, f"{stem}{suffix}")))
        if not os.path.lexists(job.mask):
            todo.append(job)
            continue
        if _identity(job.mask) in inputs:
            cure = "Choose another `dst`, or another `suffix` (--output-suffix)."
            raise ValueError(expected("dst", "a folder where no label is overwritten", f"'{job.mask}'", cure))
        note = None if overwrite else read_note(job.mask)
        if overwrite or (note is not None and note.key == conversion.key and not is_current(note, label)):
            todo.append(job)
        elif note is None or note.key != conversion.key:
            foreign.append(job.mask)
        else:
            done[job] = MaskFacts(**note.facts)
    if foreign:
        rule = "a folder whose files are of earlier runs with these settings"
        found = f"{len(foreign)} others under the names of masks ({shorten(foreign)})"
        raise ValueError(expected("dst", rule, found, "Choose another folder, or replace them: --overwrite."))
    return todo, done


def _check_folder(argument: str, folder: str | Path) -> None:
    if not os.path.isdir(folder):
        raise FileNotFoundError(expected(argument, "an existing folder", f"'{folder}'"))


def _no_files(
    argument: str, folder: str | Path, suffixes: tuple[str, ...], others: list[str], suffix_argument: str
) -> FileNotFoundError:
    found = f"{len(others)} other files in '{folder}': {shorten(sorted(others), 3) or 'none'}"
    cure = f"Set `{suffix_argument}` (--{suffix_argument.replace('_', '-')}) to how the names end."
    return FileNotFoundError(expected(argument, f"a folder with files '*{' or *'.join(suffixes)}'", found, cure))


def _without_masks(stems: dict[str, str], dst: str | Path, ends: tuple[str, ...], suffix: str) -> dict[str, str]:
    """Leave out masks of earlier runs; called where they are named as labels are."""
    masks = {stem for stem, path in stems.items() if path.lower().endswith(".png") and read_note(path) is not None}
    real_dst = os.path.realpath(dst)
    below = {
        stem for stem, path in stems.items() if Path(os.path.realpath(os.path.dirname(path))).is_relative_to(real_dst)
    }
    if below - masks:
        raise ValueError(
            expected(
                "dst",
                f"a folder without labels, as masks '*{suffix}' would be taken for labels '*{' or *'.join(ends)}'",
                f"'{dst}' with {shorten(sorted(stems[stem] for stem in below - masks), 3)}",
                "Choose a folder of its own, or another `suffix` (--output-suffix).",
            )
        )
    # A tree of nothing but masks of an earlier run, elsewhere, is meant as the labels of this one.
    left = (set(stems) - masks) or (set(stems) - below)
    if not left:
        raise FileNotFoundError(expected("src", "a folder with labels", "only masks of an earlier run"))
    return {stem: stems[stem] for stem in left}


def _photos_beside(src: Path) -> Path | None:
    """``leftImg8bit/val`` for ``gtFine/val``, if it is there."""
    parts = src.absolute().parts
    if "gtFine" not in parts:
        return None
    place = len(parts) - 1 - parts[::-1].index("gtFine")
    photos = Path(*parts[:place], "leftImg8bit", *parts[place + 1 :])
    return photos if photos.is_dir() else None


def _identity(path: str) -> tuple[int, int] | None:
    """The same for all names of one file: links, and upper and lower case where the disk knows no difference."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:  # a link to nowhere
        return None
    return stat.st_dev, stat.st_ino
