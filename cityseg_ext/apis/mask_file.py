"""One label file to one class map, which carries a note of how it was made."""

from __future__ import annotations

import io
import json
import os
import zlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cityseg_ext.functional.color_mask import DecodedMask
from cityseg_ext.labels import CITYSCAPES_29, IGNORE_INDEX, LABEL_BY_ID, LABEL_BY_NAME, Taxonomy
from cityseg_ext.transforms.image_file import read_image_bytes
from cityseg_ext.transforms.label_file import read_label, unknown_problem
from cityseg_ext.whole_file import write_whole

_NOTE = "cityseg"  # keyword of the text chunk
_VERSION = 1  # of what is written: raise it when the same input would give another mask or note
_SETTINGS = ("source", "target", "taxonomy", "mode", "uncertain", "effort", "half", "unknown")
_PNG_END = b"IEND\xaeB`\x82"
_MOST_FREQUENT = 10


@dataclass(frozen=True)
class Conversion:
    """All that decides what becomes of a label file.

    Attributes:
        source: what the files hold: ``'color'``, ``'label_ids'`` or ``'train_ids'``.
        target: what is written: ``'train_ids'`` or ``'label_ids'``.
        taxonomy: the numbering of train ids, on either side.
        mode, uncertain, effort: how colours are decoded.
        half: where the mask is, if photograph and mask share one file.
        unknown: ``'ignore'``: unknown colours and ids become void; ``'error'``: such a file is not converted.
    """

    source: str
    target: str
    taxonomy: Taxonomy
    mode: str
    uncertain: str
    effort: str
    half: str | None
    unknown: str

    @cached_property
    def settings(self) -> dict[str, str | None]:
        """Names and values, for the reader."""
        return {name: getattr(self, name) for name in _SETTINGS} | {"taxonomy": self.taxonomy.name}

    @cached_property
    def key(self) -> str:
        """A short text that differs as soon as anything about the conversion does."""
        values = repr([_VERSION, self.taxonomy, *self.settings.values()])
        return f"{self.source} to {self.target}, {zlib.crc32(values.encode()):08x}"

    @cached_property
    def reading(self) -> Taxonomy:
        """The numbering that files are read in.

        From colours or label ids to label ids, that is the official one itself: a taxonomy's detour would drop labels
        (``parking``, say) that both sides can hold.
        """
        if self.target == "train_ids" or self.source == "train_ids":
            return self.taxonomy
        index_to_id = dict(enumerate(CITYSCAPES_29.index_to_id))
        return replace(
            CITYSCAPES_29,
            name="the official labels",
            id_to_index={number: number if number >= 0 else IGNORE_INDEX for number in LABEL_BY_ID},
            color_to_index={
                color: index_to_id.get(index, IGNORE_INDEX) for color, index in CITYSCAPES_29.color_to_index.items()
            },
        )

    @cached_property
    def table(self) -> np.ndarray:
        """uint8 (256,): what is written for each index read. Official label ids have 0 for void, train ids 255."""
        table = np.arange(256, dtype=np.uint8)
        if self.target == "label_ids":
            if self.source == "train_ids":
                table[: self.taxonomy.num_classes] = self.taxonomy.index_to_id
            table[IGNORE_INDEX] = LABEL_BY_NAME["unlabeled"].id
        return table


@dataclass(frozen=True, order=True)
class Job:
    """One file to convert.

    Attributes:
        label: path of the label file.
        mask: path of the class map to write.
    """

    label: str
    mask: str


@dataclass(frozen=True)
class MaskFacts:
    """What became of the pixels of one file.

    Attributes:
        pixels: numbers of pixels: ``all``, and of these ``exact``, ``resolved``, ``uncertain`` and ``unknown``.
        unknown_values: how many different colours or ids are in no table.
        most_frequent: the most frequent of these, as text, with their pixel counts.
    """

    pixels: dict[str, int]
    unknown_values: int
    most_frequent: dict[str, int]

    @classmethod
    def of(cls, decoded: DecodedMask) -> MaskFacts:
        """The one place where facts about a file are gathered; ``pixels`` of all files are added up in the report."""
        return cls(
            pixels={
                "all": decoded.indices.size,
                "exact": decoded.exact,
                "resolved": decoded.resolved,
                "uncertain": decoded.uncertain,
                "unknown": sum(decoded.unknown.values()),
            },
            unknown_values=len(decoded.unknown),
            most_frequent={str(value): count for value, count in list(decoded.unknown.items())[:_MOST_FREQUENT]},
        )


@dataclass(frozen=True)
class Outcome:
    """What became of one file: facts if it was converted, else the problem."""

    job: Job
    facts: MaskFacts | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Note:
    """What a class map says about how it was made.

    Attributes:
        key: of the conversion.
        label: size in bytes and time of change in nanoseconds of the label file.
        facts: :class:`MaskFacts` about its pixels, as a dict.
        whole: whether the file has its end.
    """

    key: str
    label: list[int]
    facts: dict
    whole: bool


def convert_file(job: Job, conversion: Conversion) -> Outcome:
    """Convert one file; one that cannot be read, or that the settings refuse, gives an outcome with the problem.

    Raises:
        OSError: if the mask cannot be written; that would happen to the next file too.
    """
    try:
        state = _state(job.label)
        decoded = _read(job.label, conversion)
    except (ValueError, OSError, MemoryError) as error:
        return Outcome(job, problem=str(error) or type(error).__name__)
    if decoded.unknown and conversion.unknown == "error":
        return Outcome(job, problem=unknown_problem(job.label, decoded, conversion.source, conversion.reading))
    facts = MaskFacts.of(decoded)
    info = PngInfo()
    info.add_text(_NOTE, json.dumps({"key": conversion.key, "label": state, "facts": asdict(facts)}))
    buffer = io.BytesIO()
    Image.fromarray(conversion.table[decoded.indices]).save(buffer, "PNG", pnginfo=info)
    write_whole(Path(job.mask), buffer.getvalue())
    return Outcome(job, facts)


def _read(path: str, conversion: Conversion) -> DecodedMask:
    decoding = dict(mode=conversion.mode, uncertain=conversion.uncertain, effort=conversion.effort)
    return read_label(path, conversion.source, conversion.reading, conversion.half, **decoding)


def read_note(path: str) -> Note | None:
    """The note of a class map that :func:`convert_file` wrote; None for any other file."""
    try:
        data, image = read_image_bytes(path, "label")
        return Note(**json.loads(image.info[_NOTE]), whole=data.endswith(_PNG_END))
    except (OSError, ValueError, KeyError, TypeError):  # not an image, no note, or a note of another version
        return None


def is_current(note: Note, label: str) -> bool:
    """Whether a class map is whole and its label file is still the one it was made from.

    Size and time are compared with those noted, not the ages of the two files: labels that are replaced from an archive
    are often older than the masks of those before them.
    """
    return note.whole and os.path.exists(label) and note.label == _state(label)


def _state(path: str) -> list[int]:
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]
