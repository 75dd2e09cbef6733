"""What is known about a data set after it was checked, as records and as plain values for JSON.

Files are read and written elsewhere: ``apis`` does it with whole records, and the registered rooms, which may import
this room, turn the JSON that they read into records here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import check_choice, file_problem
from cityseg_ext.functional.class_statistics import WEIGHTINGS, Counts, Weights
from cityseg_ext.labels import Color

FORMAT = "cityseg_ext.dataset_statistics"
VERSION = 1  # raise it when the file or what is counted changes: older files are then made anew
SEVERITIES = ("error", "warning")

CURE = "Write it with tools/check_dataset.py."
"""What to do about a file of statistics, or of weights from them, that is missing or damaged."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set.

    Attributes:
        severity: ``'error'``: training would stop, or learn from wrong labels; ``'warning'``: worth knowing.
        kind: what is wrong, in a word that groups problems.
        split: ``'train'``, ``'val'`` or ``'test'``.
        file: the file at fault, or None where it is the whole split.
        message: a sentence.
    """

    severity: str
    kind: str
    split: str
    file: str | None
    message: str


@dataclass(frozen=True, eq=False)
class SplitStatistics:
    """The pixels of each class in each image of a split.

    Attributes:
        images: photographs relative to the data set's ``data_root`` with ``/`` between folders, in its order.
        counts: int64 (N, K), pixels of each class; zeros for an image whose label is missing or cannot be read.
        void: int64 (N,), void pixels.
        sizes: int64 (N, 2), height and width of each photograph; zeros for one that cannot be read.

    Example:
        >>> counts = np.array([[3, 0], [2, 2]])
        >>> split = SplitStatistics(("a.png", "b.png"), counts, np.array([1, 0]), np.array([[2, 2], [2, 2]]))
        >>> split.pixels, split.images_with_class
        (array([5, 2]), array([2, 1]))
    """

    images: tuple[str, ...]
    counts: Counts
    void: Counts
    sizes: Counts

    @property
    def pixels(self) -> Counts:
        """int64 (K,), the pixels of each class."""
        return self.counts.sum(axis=0)

    @property
    def images_with_class(self) -> Counts:
        """int64 (K,), how many images hold each class."""
        return np.asarray((self.counts > 0).sum(axis=0), np.int64)


@dataclass(frozen=True, eq=False)
class DatasetStatistics:
    """The result of checking a data set.

    Attributes:
        fingerprint: hexadecimal SHA-256 of names, sizes and times of all files, and of how they are read.
        classes: K names, in the order of class indices.
        palette: K RGB colours.
        splits: statistics by the name of the split: ``'train'``, ``'val'``, ``'test'``, those that could be listed.
        problems: all problems found.
    """

    fingerprint: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    splits: dict[str, SplitStatistics]
    problems: tuple[Problem, ...]

    @property
    def class_weights(self) -> dict[str, Weights]:
        """Class weights from the training labels, float64 (K,), by the name of the weighting; empty without such."""
        train = self.splits.get("train")
        if train is None or not train.counts.any():
            return {}
        return {name: weigh(train.counts) for name, weigh in WEIGHTINGS.items()}

    @property
    def errors(self) -> int:
        """How many problems are errors; the others are warnings."""
        return sum(problem.severity == "error" for problem in self.problems)


def image_name(path: str, data_root: str | None) -> str:
    """What statistics call a photograph: its path relative to the data root, with ``/`` between folders.

    Example:
        >>> image_name("data/leftImg8bit/train/a.png", "data/")
        'leftImg8bit/train/a.png'
    """
    return os.path.relpath(path, data_root or ".").replace(os.sep, "/")


def statistics_to_dict(statistics: DatasetStatistics) -> dict:
    """Plain values for JSON; weights are written out too, for readers without this package."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": statistics.fingerprint,
        "classes": list(statistics.classes),
        "palette": [list(color) for color in statistics.palette],
        "class_weights": {name: weights.tolist() for name, weights in statistics.class_weights.items()},
        "problems": [asdict(problem) for problem in statistics.problems],
        "splits": {
            name: {
                "images": list(split.images),
                "sizes": split.sizes.tolist(),
                "void": split.void.tolist(),
                "counts": split.counts.tolist(),
            }
            for name, split in statistics.splits.items()
        },
    }


def statistics_from_dict(data: object, path: object) -> DatasetStatistics:
    """The record of such plain values.

    Args:
        data: what :func:`statistics_to_dict` gave, after a trip through JSON.
        path: the file that it was read from, for error messages.

    Raises:
        ValueError: if it is something else, of another version, or damaged.

    Example:
        >>> empty = DatasetStatistics("0a", ("road",), ((0, 0, 0),), splits={}, problems=())
        >>> statistics_from_dict(statistics_to_dict(empty), "stats.json").classes
        ('road',)
    """
    rule = "dataset statistics"
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise ValueError(file_problem(path, rule, "other JSON", CURE))
    if data.get("version") != VERSION:
        raise ValueError(file_problem(path, f"{rule} of version {VERSION}", f"version {data.get('version')}", CURE))
    try:
        classes = tuple(str(name) for name in data["classes"])
        statistics = DatasetStatistics(
            fingerprint=str(data["fingerprint"]),
            classes=classes,
            palette=tuple((int(red), int(green), int(blue)) for red, green, blue in data["palette"]),
            splits={str(name): _split(split, len(classes)) for name, split in data["splits"].items()},
            problems=tuple(_problem(problem) for problem in data["problems"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        found = f"one with missing or damaged parts ({type(error).__name__}: {error})"
        raise ValueError(file_problem(path, rule, found, CURE)) from error
    return statistics


def _split(data: Mapping, num_classes: int) -> SplitStatistics:
    images = tuple(str(name) for name in data["images"])
    return SplitStatistics(
        images=images,
        counts=_whole_numbers(data["counts"], (len(images), num_classes)),
        void=_whole_numbers(data["void"], (len(images),)),
        sizes=_whole_numbers(data["sizes"], (len(images), 2)),
    )


def _whole_numbers(values: npt.ArrayLike, shape: tuple[int, ...]) -> Counts:
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64).reshape(shape)
    if array.shape != shape or array.dtype.kind not in "iu" or (array < 0).any():
        raise ValueError(f"counts of shape {array.shape}, type {array.dtype}, where whole numbers of {shape} belong")
    return array.astype(np.int64)


def _problem(data: Mapping) -> Problem:
    check_choice("severity", data["severity"], SEVERITIES)
    return Problem(**data)
