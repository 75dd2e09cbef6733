"""One label map of a submission as a PNG: written with a note of how it was made, and read with care."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cityseg_ext.apis.submission_findings import Refused
from cityseg_ext.apis.whole_files import write_whole
from cityseg_ext.transforms.image_file import read_image_bytes

_NOTE = "cityseg-submission"  # keyword of the text chunk
_HEADER = struct.Struct(">8sI4sIIBBBBB")  # signature, and the first chunk up to its checksum
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_PNG_END = b"IEND\xaeB`\x82"


def write_label_map(path: Path, label_ids: np.ndarray, recipe: str, photo: str) -> None:
    """Write a label map, whole or not at all.

    Args:
        path: the PNG.
        label_ids: uint8 (H, W).
        recipe: a text that differs as soon as anything about the prediction does.
        photo: the photograph.
    """
    info = PngInfo()
    info.add_text(_NOTE, _note(recipe, photo))
    buffer = io.BytesIO()
    Image.fromarray(label_ids).save(buffer, "PNG", pnginfo=info)
    write_whole(path, buffer.getvalue())


def is_ours(path: str | Path, recipe: str) -> bool:
    """Whether :func:`write_label_map` wrote the file with this recipe."""
    note, _ = _read_note(path)
    return note.get("recipe") == recipe


def is_current(path: str | Path, recipe: str, photo: str) -> bool:
    """Whether it did so from this photograph, as it is now, and the file is whole."""
    note, whole = _read_note(path)
    return whole and note == json.loads(_note(recipe, photo))


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def count_ids(name: str, data: bytes, size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """The values of a label map; its header is looked at before anything is decoded.

    Args:
        name: of the file, for messages.
        data: its bytes.
        size: (H, W) that it must have.

    Returns:
        Pixels of each value, int64 (256,); and whether it is a palette image.

    Raises:
        Refused: if it is no PNG, of another size or kind, or damaged.
    """
    if not data.startswith(_SIGNATURE):
        raise Refused("no png", name)
    if len(data) < _HEADER.size:
        raise Refused("damaged", f"{name} (cut short)")
    _, _, chunk, width, height, depth, mode, *_ = _HEADER.unpack_from(data)
    if chunk != b"IHDR":
        raise Refused("damaged", f"{name} (no header)")
    if (height, width) != size:
        raise Refused("size", f"{name} ({width}x{height}, not {size[1]}x{size[0]})")
    if depth != 8 or mode not in (0, 3):
        raise Refused("mode", f"{name} ({depth}-bit {_MODES.get(mode, 'unknown')})")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()  # the checksums, which loading does not look at
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.array(image.histogram(), np.int64), mode == 3
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise Refused("damaged", f"{name} ({error})") from error


def _note(recipe: str, photo: str) -> str:
    # Not the time of change: a copy of the data gives the same bytes.
    return json.dumps({"recipe": recipe, "photo": os.path.getsize(photo)})


def _read_note(path: str | Path) -> tuple[dict, bool]:
    """What the file says about itself, nothing for a file of somebody else; and whether it has its end."""
    try:
        data, image = read_image_bytes(str(path), "label")
        note = json.loads(image.info[_NOTE])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, False
    return (note if isinstance(note, dict) else {}), data.endswith(_PNG_END)
