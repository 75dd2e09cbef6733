"""Which files a config trains and validates on, and how it reads them."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config, ConfigDict
from mmengine.registry import Registry, init_default_scope
from mmseg.registry import DATASETS, TRANSFORMS

import cityseg_ext.plugin  # noqa: F401
from cityseg_ext.apis.config_tree import walk_transforms
from cityseg_ext.checks import expected, file_problem
from cityseg_ext.functional.dataset_statistics import VERSION, Problem, image_name
from cityseg_ext.labels import Color, Taxonomy, get_taxonomy
from cityseg_ext.transforms.color_mask import LoadColorMaskAnnotations

SPLITS = ("train", "val", "test")
_TURNING_FLAGS = ("color", "grayscale")  # with these, mmcv's OpenCV and Pillow backends obey the EXIF orientation
_TURNING_BACKENDS = (None, "cv2", "pillow")


@dataclass(frozen=True)
class Reading:
    """How the pipeline of a data set reads files.

    Attributes:
        source, taxonomy: what the pipeline says about labels; None where it leaves this to the data set.
        unknown: ``'error'`` or ``'ignore'``.
        decoding: how colours are decoded: arguments of ``decode_color_mask``.
        turns: whether photographs are turned as their EXIF orientation says.
        photo_backend, label_backend: arguments of mmengine's file backend.
    """

    source: str | None = None
    taxonomy: Taxonomy | None = None
    unknown: str = "error"
    decoding: dict[str, str] = field(default_factory=dict)
    turns: bool = True
    photo_backend: dict | None = None
    label_backend: dict | None = None


@dataclass(frozen=True)
class Sample:
    """One photograph and its label, as the pipeline gets them.

    Attributes:
        split: ``'train'``, ``'val'`` or ``'test'``.
        name: the photograph relative to the data root, with ``/`` between folders.
        photo, label: paths; a sample without label has None.
        photo_half, label_half: ``'left'`` or ``'right'`` where photograph and mask share one file.
        source, taxonomy: what the label holds, and the classes wanted.
        reading: how both are read.
    """

    split: str
    name: str
    photo: str
    label: str | None
    photo_half: str | None
    label_half: str | None
    source: str
    taxonomy: Taxonomy
    reading: Reading


@dataclass(frozen=True)
class Listing:
    """All samples of a config.

    Attributes:
        classes: class names.
        palette: RGB colours.
        splits: the splits that could be listed, in the order train, val, test.
        samples: in the order of splits and of each data set.
        problems: what was wrong with folders and pairs.
    """

    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    splits: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of names, sizes and times of all files, and of how they are read."""
        digest = hashlib.sha256(
            repr((VERSION, self.classes, self.palette, self.splits, self.problems)).encode(errors="backslashreplace")
        )
        told = None
        for sample in self.samples:
            if told is None or told.reading is not sample.reading or told.taxonomy is not sample.taxonomy:
                digest.update(repr((sample.reading, sample.taxonomy)).encode())
            told = sample
            facts = (sample.split, sample.name, sample.source, sample.photo_half, sample.label_half)
            files = (sample.photo, _state(sample.photo), sample.label, _state(sample.label))
            digest.update(repr(facts + files).encode(errors="backslashreplace"))
        return digest.hexdigest()


def list_samples(cfg: Config) -> Listing:
    """List the data sets of a config.

    A test set that is the validation set is listed once, as ``val``. Wrappers such as ``ConcatDataset`` and
    ``RepeatDataset`` are looked into.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`.

    Raises:
        FileNotFoundError, ValueError: if no data set of the config can be listed, or the config itself is wrong.
    """
    init_default_scope("mmseg")
    leaves = [
        (split, leaf)
        for split in SPLITS
        if cfg.get(f"{split}_dataloader")
        for leaf in _leaves(cfg[f"{split}_dataloader"].dataset)
    ]
    if not leaves:
        raise ValueError(expected("config", "one with a train, val or test dataloader", cfg.filename))
    files_of_val = [_files_of(leaf) for split, leaf in leaves if split == "val"]
    if files_of_val == [_files_of(leaf) for split, leaf in leaves if split == "test"]:
        leaves = [(split, leaf) for split, leaf in leaves if split != "test"]
    samples: list[Sample] = []
    problems: list[Problem] = []
    failures: list[Exception] = []
    metas = {}
    for split, leaf in leaves:
        dataset, reading = _build(leaf), _reading(leaf)
        metas[split] = (
            tuple(dataset.metainfo["classes"]),
            tuple(tuple(color) for color in dataset.metainfo["palette"]),
        )
        try:
            dataset.full_init()
        except (OSError, ValueError) as error:
            failures.append(error)
            problems.append(Problem("error", "missing", split, None, str(error)))
        else:
            samples += [_sample(split, dataset, index, reading) for index in range(len(dataset))]
        problems += _unpaired(split, dataset, leaf.get("unpaired", "error"))
    if len(failures) == len(leaves):
        raise failures[0]
    if len(set(metas.values())) > 1:
        numbers = ", ".join(f"{len(classes)} in {split}" for split, (classes, _) in metas.items())
        raise ValueError(expected("taxonomy", "the same in every data set of the config", f"other classes: {numbers}"))
    classes, palette = next(iter(metas.values()))
    listed = {sample.split for sample in samples}
    return Listing(
        classes, palette, tuple(split for split in SPLITS if split in listed), tuple(samples), tuple(problems)
    )


def _leaves(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets inside of wrappers."""
    if "datasets" in dataset:
        for part in dataset.datasets:
            yield from _leaves(part)
    elif "dataset" in dataset:
        yield from _leaves(dataset.dataset)
    else:
        yield dataset


def _files_of(leaf: ConfigDict) -> dict:
    """What decides which files a data set has."""
    return {key: value for key, value in leaf.items() if key not in ("pipeline", "test_mode")}


def _build(leaf: ConfigDict):
    """The data set without a pipeline, not yet listed; files without partner do not stop it."""
    options = dict(pipeline=[], lazy_init=True, serialize_data=False)
    kind = _class(DATASETS, leaf)
    if kind is not None and "unpaired" in inspect.signature(kind).parameters:
        options["unpaired"] = "collect"
    return DATASETS.build({**leaf, **options})


def _class(registry: Registry, part: ConfigDict) -> type | None:
    """What a part of a config stands for; None for a name that nobody registered, which building it reports."""
    return registry.get(part["type"]) if isinstance(part["type"], str) else part["type"]


def _reading(leaf: ConfigDict) -> Reading:
    facts = {}
    for transform in walk_transforms(leaf.get("pipeline", [])):
        kind = _class(TRANSFORMS, transform)
        if kind is not None and issubclass(kind, LoadColorMaskAnnotations):
            loader = TRANSFORMS.build(transform)
            facts |= dict(source=loader.source, taxonomy=loader.taxonomy, unknown=loader.unknown)
            facts |= dict(decoding=loader.decoding, label_backend=loader.backend_args)
        elif kind is not None and issubclass(kind, LoadImageFromFile):
            loader = TRANSFORMS.build(transform)
            turns = loader.color_type in _TURNING_FLAGS and loader.imdecode_backend in _TURNING_BACKENDS
            facts |= dict(turns=turns, photo_backend=loader.backend_args)
    return Reading(**facts)


def _sample(split: str, dataset, index: int, reading: Reading) -> Sample:
    info = dataset.get_data_info(index)
    return Sample(
        split=split,
        name=image_name(info["img_path"], dataset.data_root),
        photo=info["img_path"],
        label=info.get("seg_map_path"),
        photo_half=info.get("photo_half"),
        label_half=info.get("label_half"),
        source=reading.source or info.get("label_source", "color"),
        taxonomy=reading.taxonomy or get_taxonomy(info.get("taxonomy", "cityscapes19")),
        reading=reading,
    )


def _unpaired(split: str, dataset, policy: str) -> list[Problem]:
    severity = "error" if policy == "error" else "warning"
    cure = "Add the missing file, or set unpaired='skip'." if policy == "error" else "It is left out."
    problems = []
    for files, kind, partner in (
        (getattr(dataset, "unpaired_photos", ()), "a photograph", "label"),
        (getattr(dataset, "unpaired_labels", ()), "a label", "photograph"),
    ):
        rule, found = f"{kind} with a {partner}", f"one without {partner}"
        problems += [
            Problem(severity, "unpaired", split, path, file_problem(path, rule, found, cure)) for path in files
        ]
    return problems


def _state(path: str | None) -> tuple[int, int] | None:
    """Size in bytes and time of change in nanoseconds; None for what is no local file."""
    try:
        state = os.stat(path or "")
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns
