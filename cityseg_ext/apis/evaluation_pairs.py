"""Which prediction belongs to which ground truth, and what kind of numbers they hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cityseg_ext.checks import expected, shorten
from cityseg_ext.datasets.files import stem_of, walk_files
from cityseg_ext.labels import (
    CITYSCAPES_IDS,
    FRAME_NAME,
    IGNORE_INDEX,
    INSTANCE_SUFFIX,
    LABEL_BY_ID,
    LABEL_SUFFIXES,
    PHOTO_SUFFIXES,
    Taxonomy,
)
from cityseg_ext.transforms.label_file import read_ids

PRED_TYPES = ("train_ids", "label_ids")
_TRUTHS = ("label_ids", "train_ids", "color")  # the first kind that is there is taken: the one that says most
_ENDS = (*LABEL_SUFFIXES.values(), *PHOTO_SUFFIXES, "_mask.png", ".png")


@dataclass(frozen=True)
class Pair:
    """The files of one image.

    Attributes:
        key: what tells the image from others.
        pred: the prediction.
        truth: the ground truth.
        instances: where the official naming has the instance file; None for other names.
    """

    key: str
    pred: str
    truth: str
    instances: str | None


def find_pairs(pred_dir: str, gt_dir: str, gt_type: str | None) -> tuple[list[Pair], str | None]:
    """Pair the PNG files of two folders.

    Names of the form ``<city>_<sequence>_<frame>*`` are paired by that part, other names by what is before their
    ending. Where images in different folders have the same name, their folders must agree too.

    Args:
        pred_dir: folder of predictions, at any depth.
        gt_dir: folder of ground truth, at any depth.
        gt_type: the kind of ground truth wanted; by default label ids, train ids or colours, the first there is.

    Returns:
        Pairs sorted by key, and the kind of ground truth if names tell it.

    Raises:
        FileNotFoundError: if a folder is missing or has no PNG.
        ValueError: if a file has no partner or several; all are listed.
    """
    truths, kind = _find_truths(gt_dir, gt_type)
    preds = _pngs(pred_dir, "pred_dir")
    names = [_key(path) for path in truths]
    by_folder = len(set(names)) < len(names)
    true_by_key = _group(truths, gt_dir if by_folder else None)
    pred_by_key = _group(preds, pred_dir if by_folder else None)
    problems = []
    for what, keys in (
        ("ground truths have no prediction", sorted(set(true_by_key) - set(pred_by_key))),
        ("images have predictions but no ground truth", sorted(set(pred_by_key) - set(true_by_key))),
        ("images have several predictions", _several(pred_by_key)),
        ("images have several ground truths", _several(true_by_key)),
    ):
        if keys:
            problems.append(f"{len(keys)} {what} ({shorten(keys)})")
    if problems:
        raise ValueError(
            f"Expected one prediction in '{pred_dir}' for each of {len(true_by_key)} ground truths in '{gt_dir}', but "
            f"{'; '.join(problems)}. Name predictions <city>_<sequence>_<frame>*.png, or as their ground truth."
        )
    end = LABEL_SUFFIXES.get(kind or "")
    pairs = []
    for key, (truth,) in sorted(true_by_key.items()):
        stem = stem_of(truth, [end]) if end else None
        pairs.append(Pair(key, pred_by_key[key][0], truth, None if stem is None else stem + INSTANCE_SUFFIX))
    return pairs, kind


def detect_type(paths: Iterable[str], taxonomy: Taxonomy, argument: str, what: str) -> str:
    """Whether files hold train ids or label ids, from the first value that only one of the two can mean.

    Args:
        paths: the files, read until one decides.
        taxonomy: numbering of train ids.
        argument: what the user calls the answer, for the error message.
        what: what the files are: ``'predictions'`` or ``'ground truths'``.

    Raises:
        ValueError: if no value decides.
    """
    label_only = set(range(taxonomy.num_classes, CITYSCAPES_IDS.num_classes))
    train_only = {IGNORE_INDEX}
    if what == "predictions":  # nobody predicts void labels other than "unlabeled"; in ground truth they are common
        train_only |= {
            number
            for number in range(1, taxonomy.num_classes)
            if LABEL_BY_ID[number].category_id == 0 and taxonomy.id_to_index[number] == IGNORE_INDEX
        }
    seen: set[int] = set()
    for path in paths:
        try:
            values = set(np.unique(read_ids(path)).tolist())
        except (ValueError, OSError):
            continue  # it is reported with all others when it is scored
        seen |= values
        if values & label_only:
            return "label_ids"
        if values & train_only:
            return "train_ids"
    rule = f"given where the values of the {what} ({shorten(sorted(seen), 8) or 'none readable'}) can be of both kinds"
    raise ValueError(expected(argument, rule, "nothing", f"Give --{argument.replace('_', '-')}."))


def _find_truths(gt_dir: str, gt_type: str | None) -> tuple[list[str], str | None]:
    files = _pngs(gt_dir, "gt_dir")
    for kind in _TRUTHS if gt_type is None else (gt_type,):
        named = [path for path in files if stem_of(path, [LABEL_SUFFIXES[kind]]) is not None]
        if named:
            return named, kind
    ends = (INSTANCE_SUFFIX, *LABEL_SUFFIXES.values(), *PHOTO_SUFFIXES)
    others = [path for path in files if stem_of(path, ends) is None]
    if not others:
        cure = "Give another folder, or another kind: --gt-type."
        found = f"{len(files)} others: {shorten([os.path.basename(path) for path in files], 3)}"
        rule = f"a folder with files *{LABEL_SUFFIXES[gt_type or 'label_ids']}"
        raise FileNotFoundError(expected("gt_dir", rule, f"'{gt_dir}' with {found}", cure))
    return others, None


def _pngs(folder: str, argument: str) -> list[str]:
    if not os.path.isdir(folder):
        raise FileNotFoundError(expected(argument, "an existing folder", f"'{folder}'"))
    files = sorted(walk_files(folder))
    found = [path for path in files if path.lower().endswith(".png")]
    if not found:
        others = f"{len(files)} files, none of them PNG: {shorten([os.path.basename(path) for path in files], 3)}"
        value = f"'{folder}' with {others if files else 'no file'}"
        raise FileNotFoundError(expected(argument, "a folder with PNG files, at any depth", value))
    return found


def _key(path: str) -> str:
    name = os.path.basename(path)
    frame = FRAME_NAME.fullmatch(name)
    return frame.group(1) if frame else stem_of(name, _ENDS) or name


def _group(paths: Sequence[str], root: str | None) -> dict[str, list[str]]:
    """Files by key; with a root, the key has the folder below it too."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        folder = os.path.dirname(os.path.relpath(path, root)) if root is not None else ""
        groups.setdefault(os.path.join(folder, _key(path)), []).append(path)
    return groups


def _several(groups: dict[str, list[str]]) -> list[str]:
    """Keys of more than one file, with the files' names."""
    return [
        f"{key}: {shorten([os.path.basename(path) for path in paths], 3)}"
        for key, paths in sorted(groups.items())
        if len(paths) > 1
    ]
