"""Every photograph and label of a listing, opened once; and what only shows when all are seen together."""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from PIL import ExifTags, Image

from cityseg_ext.apis.dataset_listing import Listing, Sample
from cityseg_ext.apis.processes import map_in_processes
from cityseg_ext.checks import check_at_least, file_problem
from cityseg_ext.functional.class_statistics import class_counts
from cityseg_ext.functional.dataset_statistics import DatasetStatistics, Problem, SplitStatistics
from cityseg_ext.transforms.image_file import decode_image, read_image_bytes, take_half
from cityseg_ext.transforms.label_file import read_label, unknown_problem

_MAX_UNKNOWN = 256  # values a file that are added up over files: a smoothed mask has many thousands


@dataclass
class _Finding:
    """What one sample showed."""

    counts: np.ndarray
    void: int = 0
    size: tuple[int, int] = (0, 0)
    digest: str | None = None
    unknown: list[tuple[object, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def scan(
    listing: Listing, num_workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> DatasetStatistics:
    """Read all files of a listing once.

    Args:
        listing: what to read.
        num_workers: processes; 0 reads in this one, None takes one a core.
        progress: called with (samples done, samples in all).

    Returns:
        Counts and all problems, those of the listing included.

    Raises:
        ValueError: if ``num_workers`` is less than 0.
        ChildProcessError: if a process was killed.
    """
    fingerprint = listing.fingerprint()  # before reading: what changes meanwhile is read again next time
    findings: list[_Finding] = []
    if num_workers is not None:
        check_at_least("num_workers", num_workers, 0)
    with closing(map_in_processes(_inspect, listing.samples, num_workers, "num_workers")) as found:
        for finding in found:
            findings.append(finding)
            if progress is not None:
                progress(len(findings), len(listing.samples))
    splits = {}
    for split in listing.splits:
        rows = [i for i, sample in enumerate(listing.samples) if sample.split == split]
        splits[split] = SplitStatistics(
            images=tuple(listing.samples[i].name for i in rows),
            counts=np.stack([findings[i].counts for i in rows]),
            void=np.array([findings[i].void for i in rows], np.int64),
            sizes=np.array([findings[i].size for i in rows], np.int64),
        )
    problems = [*listing.problems, *(problem for finding in findings for problem in finding.problems)]
    problems += _duplicates(listing.samples, [finding.digest for finding in findings])
    for split in listing.splits:
        own = [finding for sample, finding in zip(listing.samples, findings, strict=True) if sample.split == split]
        problems += _unknown_in_all(split, own)
    problems += _missing_classes(listing.classes, splits)
    return DatasetStatistics(
        fingerprint=fingerprint,
        classes=listing.classes,
        palette=listing.palette,
        splits=splits,
        problems=tuple(dict.fromkeys(problems)),  # a damaged pair is met twice: as photograph and as label
    )


def _inspect(sample: Sample) -> _Finding:
    finding = _Finding(counts=np.zeros(sample.taxonomy.num_classes, np.int64))
    orientation = 1
    try:
        orientation = _inspect_photo(sample, finding)
    except (OSError, ValueError) as error:
        finding.problems.append(Problem("error", "unreadable", sample.split, sample.photo, str(error)))
    if sample.label is None:
        return finding
    try:
        label_size = _inspect_label(sample, finding)
    except (OSError, ValueError) as error:
        finding.problems.append(Problem("error", "unreadable", sample.split, sample.label, str(error)))
    else:
        if finding.digest is not None:
            finding.problems += _compare(sample, finding.size, label_size, orientation)
    return finding


def _inspect_photo(sample: Sample, finding: _Finding) -> int:
    """Fill in size (as stored) and digest; return the EXIF orientation, 1 to 8."""
    _, image = read_image_bytes(sample.photo, "photograph", sample.reading.photo_backend)
    orientation = _orientation(image)
    pixels = decode_image(sample.photo, image)  # Pillow refuses truncated files; OpenCV fills with grey
    if image.mode == "P":
        pixels = np.asarray(image.convert("RGB"))
    pixels = np.ascontiguousarray(take_half(sample.photo, pixels, sample.photo_half))
    finding.size = (pixels.shape[0], pixels.shape[1])
    # Of pixels, not of bytes: copies with other metadata or in another lossless format are found too. At 2048x1024 it
    # takes 4 ms, and decoding, which has to be done anyway, 10 (JPEG) to 100 (PNG).
    digest = hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(pixels)
    finding.digest = digest.hexdigest()
    return orientation if sample.reading.turns else 1


def _orientation(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "Corrupt EXIF data"
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, struct.error):  # damaged EXIF: decoders go on without, so do we
        return 1
    return value if value in range(1, 9) else 1


def _inspect_label(sample: Sample, finding: _Finding) -> tuple[int, int]:
    """Fill in counts and what is unknown or void; return the size."""
    path, reading = str(sample.label), sample.reading
    options = dict(backend_args=reading.label_backend) | reading.decoding
    decoded = read_label(path, sample.source, sample.taxonomy, sample.label_half, **options)
    finding.counts, finding.void = class_counts(decoded.indices, sample.taxonomy.num_classes)
    if decoded.unknown:
        finding.unknown = list(decoded.unknown.items())[:_MAX_UNKNOWN]
        severity, cure = ("error", None) if reading.unknown == "error" else ("warning", "These pixels are void.")
        message = unknown_problem(path, decoded, sample.source, sample.taxonomy, cure)
        finding.problems.append(Problem(severity, "unknown", sample.split, path, message))
    if not finding.counts.any():
        message = file_problem(path, "a label with at least one labelled pixel", "void everywhere")
        finding.problems.append(Problem("warning", "void", sample.split, path, message))
    height, width = decoded.indices.shape
    return height, width


def _compare(sample: Sample, photo: tuple[int, int], label: tuple[int, int], orientation: int) -> list[Problem]:
    """Whether photograph and label lie over each other once the photograph is turned as its EXIF tag says."""
    turned = photo[::-1] if orientation >= 5 else photo
    if label == turned and (orientation == 1 or turned != photo):
        return []
    if label == photo:
        rule = f"stored without an EXIF orientation, for its label '{sample.label}' is not turned with it"
        cure = (
            "Save it as its label lies, without the tag; or, if the label fits the stored pixels, set "
            "color_type='color_ignore_orientation' in LoadStreetImage."
        )
        message = file_problem(sample.photo, rule, f"orientation {orientation}, which loading obeys", cure)
        return [Problem("error", "exif", sample.split, sample.photo, message)]
    rule = f"of its photograph's size {turned[1]}x{turned[0]} (width x height)"
    cure = "Pair the right files, or export the label at full size with nearest-neighbour resizing."
    message = file_problem(sample.label, rule, f"{label[1]}x{label[0]}", cure)
    return [Problem("error", "size", sample.split, sample.label, message)]


def _duplicates(samples: tuple[Sample, ...], digests: list[str | None]) -> Iterator[Problem]:
    """Photographs that show the same pixels as an earlier one."""
    first: dict[str, list[Sample]] = {}
    for sample, digest in zip(samples, digests, strict=True):
        if digest is None:
            continue
        earlier = first.setdefault(digest, [])
        other = next((known for known in earlier if known.split != sample.split), None)
        same = next((known for known in earlier if known.split == sample.split), None)
        if same is None:
            earlier.append(sample)
        if other is not None:
            severity = "error" if other.split == "train" else "warning"  # some test on validation images on purpose
            cure = f"Scores of {sample.split} are then not those of unseen images: remove it from one of the two."
            yield _same_pixels(severity, "two splits", sample, other, f"unlike any image of {other.split}", cure)
        elif same is not None and same.photo != sample.photo:  # a repeated data set repeats its files on purpose
            yield _same_pixels("warning", "duplicate", sample, same, "unlike any other image of its split")


def _same_pixels(severity: str, kind: str, sample: Sample, other: Sample, rule: str, cure: str = "") -> Problem:
    message = file_problem(sample.photo, rule, f"the pixels of '{other.photo}'", cure)
    return Problem(severity, kind, sample.split, sample.photo, message)


def _unknown_in_all(split: str, findings: list[_Finding]) -> Iterator[Problem]:
    """Unknown colours or ids added up over the files of a split, where there are several such files."""
    concerned = [finding.unknown for finding in findings if finding.unknown]
    if len(concerned) < 2:
        return
    pixels: Counter = Counter()
    files: Counter = Counter()
    for unknown in concerned:
        for value, count in unknown:
            pixels[value] += count
            files[value] += 1
    listed = [f"{value} ({count} pixels, {files[value]} files)" for value, count in pixels.most_common(8)]
    message = f"{len(concerned)} labels of {split} hold values that are in no table, most often {', '.join(listed)}."
    severity = next(p.severity for finding in findings for p in finding.problems if p.kind == "unknown")
    yield Problem(severity, "unknown", split, None, message)


def _missing_classes(classes: tuple[str, ...], splits: dict[str, SplitStatistics]) -> Iterator[Problem]:
    """Classes that a split with labels lacks, and those that training lacks but another split has."""
    train = splits.get("train")
    for name, split in splits.items():
        if not split.counts.any():
            continue
        absent = [classes[index] for index in np.flatnonzero(split.pixels == 0)]
        if absent:
            message = f"{len(absent)} of {len(classes)} classes have no pixel in {name}: {', '.join(absent)}."
            yield Problem("warning", "absent classes", name, None, message)
        if split is train or train is None or not train.counts.any():
            continue
        numbers = split.images_with_class
        strange = [
            f"{classes[index]} ({numbers[index]} images)"
            for index in np.flatnonzero((split.pixels > 0) & (train.pixels == 0))
        ]
        if strange:
            message = f"Classes that {name} has and train lacks cannot be learnt: {', '.join(strange)}."
            yield Problem("warning", "untrained classes", name, None, message)
