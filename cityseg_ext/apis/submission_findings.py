"""What can be wrong with a submission, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cityseg_ext.checks import shorten
from cityseg_ext.labels import IGNORE_INDEX, PREDICTION_SUFFIX, Taxonomy


class Kind(NamedTuple):
    """One thing that can be wrong.

    Attributes:
        title: what the files are.
        cure: what to do.
        severity: ``'error'``: the benchmark would refuse or score it wrongly; ``'warning'``: it costs points.
    """

    title: str
    cure: str
    severity: str = "error"


_ZIP_AGAIN = "Zip the label maps again with an ordinary program, or let tools/cityscapes_submit.py do it."
_HOSTILE = f"Ordinary programs do not make this: do not unpack it. {_ZIP_AGAIN}"
_WRITE_AGAIN = "Write it again."
_RENAME = f"Name files <city>_<sequence>_<frame>{PREDICTION_SUFFIX}, with six digits in both numbers and '.png' small."

KINDS: dict[str, Kind] = {
    "archive": Kind("no readable zip archive", f"{_ZIP_AGAIN} A download or copy that broke off has to be repeated."),
    "empty": Kind("no file at all", "Give the folder or zip that holds the label maps."),
    "unsafe name": Kind("names that could lead out of the folder they are unpacked in", _HOSTILE),
    "link": Kind("links and special files", "Put the files themselves there."),
    "encrypted": Kind("encrypted members", "Zip the label maps again without a password."),
    "compression": Kind("members compressed in an unusual way", "Zip the label maps again with 'deflate' or 'store'."),
    "repeated": Kind("names that are in the archive more than once", _ZIP_AGAIN),
    "overlap": Kind("members that share bytes with others", _HOSTILE),
    "false": Kind("members that are not what the archive says", _HOSTILE),
    "too large": Kind("files too large for a label map", "Remove them; nothing of them was unpacked."),
    "unreadable": Kind("files that cannot be read", "Check their permissions, and the disk."),
    "foreign": Kind(
        "files that are no label maps", "Take them out: only label maps belong there (on a Mac, zip with `zip -r -X`)."
    ),
    "name": Kind("PNG files that the evaluation will not find", _RENAME),
    "missing": Kind("images without label map", "Predict them, or restore their files."),
    "surplus": Kind("label maps of images that are not of this split", "Remove them, or check the split (--split)."),
    "several": Kind("images with several label maps", "Keep one: the evaluation stops at the second."),
    "count": Kind("wrong number of images", "Check the split (--split), and that every image was predicted."),
    "photographs": Kind("photographs missing on this machine", "Complete leftImg8bit from the official archive."),
    "other photographs": Kind(
        "other photographs than the official ones", "Scores on them are not those of the benchmark.", "warning"
    ),
    "no png": Kind("files named .png that are none", "Save them as PNG; JPEG and others change the ids."),
    "size": Kind(
        "label maps of another size", "Bring predictions to the photograph's size with nearest-neighbour resizing."
    ),
    "mode": Kind("images that are not 8-bit grey", "Save one 8-bit channel of ids, no colours and no alpha channel."),
    "palette": Kind(
        "palette images",
        "The official script reads their indices, as wanted; other readers see colours. Grey images are safer.",
        "warning",
    ),
    "damaged": Kind("label maps that cannot be decoded", _WRITE_AGAIN),
    "train ids": Kind("label maps that hold class indices (train ids) instead of official ids", "Map them."),
    "ids": Kind("label maps with values that are no official id", "Write ids 0 to 33 only; 0 where there is no class."),
    "ignored": Kind(
        "ids that the benchmark does not evaluate",
        "Where an evaluated class is, these pixels count as wrong. Predict one of the 19 classes there.",
        "warning",
    ),
}
"""Everything that the check can find, in the order in which it is told."""


class Refused(ValueError):
    """A file that is not read, or is no good label map.

    Attributes:
        kind: a key of :data:`KINDS`.
        item: the file, or the file and what was found.
        cure: what to do; by default what :data:`KINDS` says.
    """

    def __init__(self, kind: str, item: str, cure: str | None = None) -> None:
        super().__init__(f"{KINDS[kind].title}: {item}")
        self.kind = kind
        self.item = item
        self.cure = KINDS[kind].cure if cure is None else cure


@dataclass(frozen=True)
class Finding:
    """All of one kind.

    Attributes:
        kind: a key of :data:`KINDS`.
        title, severity: as there.
        cure: what to do.
        items: what was found, an entry a file.
    """

    kind: str
    title: str
    cure: str
    severity: str
    items: tuple[str, ...]

    def __str__(self) -> str:
        listed = shorten([printable(item) for item in self.items], 3)
        return f"{self.severity}: {self.title} ({len(self.items)}): {listed}\n    {self.cure}"


@dataclass(frozen=True)
class SubmissionCheck:
    """The outcome of a check.

    Attributes:
        path: the folder or zip.
        split: the split it was checked for.
        files: how many files it holds.
        images: how many images have a label map.
        pixels: pixels of each official id that occurs, by id.
        findings: what is wrong, in the order of :data:`KINDS`.
    """

    path: Path
    split: str
    files: int
    images: int
    pixels: dict[int, int]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many kinds of errors there are; 0 is fit for upload."""
        return sum(finding.severity == "error" for finding in self.findings)

    def __str__(self) -> str:
        if self.errors:
            verdict = f"{self.errors} kind{'s' * (self.errors > 1)} of errors, not fit for upload"
        else:
            verdict = f"no errors, each image of {self.split} once"
            verdict += "; see the warnings" if self.findings else ", fit for upload"
        last = f"'{printable(str(self.path))}' ({self.files} files, {self.images} images): {verdict}."
        return "\n".join([*map(str, self.findings), last])


def gather(refusals: Iterable[Refused]) -> tuple[Finding, ...]:
    """Findings by kind, in the order of :data:`KINDS`."""
    groups: dict[str, list[Refused]] = {}
    for refusal in refusals:
        groups.setdefault(refusal.kind, []).append(refusal)
    return tuple(
        Finding(kind, row.title, groups[kind][0].cure, row.severity, tuple(refusal.item for refusal in groups[kind]))
        for kind, row in KINDS.items()
        if kind in groups
    )


def mapping_cure(taxonomy: Taxonomy) -> str:
    """How class indices of a taxonomy become official ids."""
    pairs = ", ".join(f"{index} -> {number}" for index, number in enumerate(taxonomy.index_to_id))
    return (
        f"Map the indices of {taxonomy.name} to official ids: {pairs}, {IGNORE_INDEX} -> 0. Or let "
        "tools/convert_masks.py do it: --source train_ids --target label_ids --label-suffix .png "
        f"--taxonomy {taxonomy.name} --output-suffix {PREDICTION_SUFFIX}"
    )


def printable(text: str) -> str:
    """Text with everything escaped that a terminal could obey, or that would look like something else.

    Example:
        >>> printable("a\\x1b[2Jü")
        'a\\\\x1b[2Jü'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
