"""One label map of a submission as a PNG: written with a note of how it was made, and read with care."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cityseg_ext.apis.submission_findings import Refused
from cityseg_ext.whole_file import write_whole

_NOTE = "cityseg-submission"  # keyword of the text chunk
_HEADER = struct.Struct(">8sI4sIIBBBBB")  # signature, and the first chunk up to its checksum
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


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
    _, _, chunk, width, height, depth, mode, _, _, interlaced = _HEADER.unpack_from(data)
    if chunk != b"IHDR":
        raise Refused("damaged", f"{name} (no header)")
    if (height, width) != size:
        raise Refused("size", f"{name} ({width}x{height}, not {size[1]}x{size[0]})")
    if depth != 8 or mode not in (0, 3):
        raise Refused("mode", f"{name} ({depth}-bit {_MODES.get(mode, 'unknown')})")
    try:
        # Without texts, profiles and the like, in which bombs can hide too.
        kept = [(name, chunk) for name, chunk in _chunks(data) if name in _PIXELS]
        _check_pixels(kept, height, width, bool(interlaced))
        pixels_only = b"".join([_SIGNATURE, *(chunk for _, chunk in kept)])
        with Image.open(io.BytesIO(pixels_only), formats=["PNG"]) as image:
            return np.array(image.histogram(), np.int64), mode == 3
    except (OSError, SyntaxError, ValueError, IndexError, zlib.error, Image.DecompressionBombError) as error:
        raise Refused("damaged", f"{name} ({error})") from error


def _check_pixels(chunks: list[tuple[bytes, bytes]], height: int, width: int, interlaced: bool) -> None:
    """Raise ``ValueError`` unless all rows are there, and no more: Pillow leaves missing ones black."""
    if sum(name == b"IHDR" for name, _ in chunks) != 1:
        raise ValueError("several headers")  # the second could have another size
    stream = zlib.decompressobj()
    packed = b"".join(chunk[8:-4] for name, chunk in chunks if name == b"IDAT")
    # A byte a row says how it is coded; interlaced images have a few rows more.
    size = len(stream.decompress(packed, height * (width + 8) + 1))
    if not stream.eof or size < height * width or (size != height * (width + 1) and not interlaced):
        raise ValueError("too few or too many rows")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and whole chunks of a PNG, up to its end.

    Raises:
        ValueError: at a chunk whose checksum is wrong, or where the file ends too early.
    """
    at, name = len(_SIGNATURE), b""
    while name != b"IEND":
        length, name = struct.unpack(">I4s", data[at : at + 8].ljust(8, b"\0"))
        chunk = data[at : at + 12 + length]
        if len(chunk) < 12 + length or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError(f"cut short or changed at byte {at}")
        yield name, chunk
        at += len(chunk)


def _note(recipe: str, photo: str) -> str:
    # Not the time of change: a copy of the data gives the same bytes.
    return json.dumps({"recipe": recipe, "photo": os.path.getsize(photo)})


def _read_note(path: str | Path) -> tuple[dict, bool]:
    """What the file says about itself, nothing for a file of somebody else; and whether it is whole."""
    note: dict = {}
    start = f"{_NOTE}\0".encode()
    try:
        for name, chunk in _chunks(Path(path).read_bytes()):
            if name == b"tEXt" and chunk[8:].startswith(start):
                told = json.loads(chunk[8 + len(start) : -4])
                note = told if isinstance(told, dict) else {}
    except (OSError, ValueError):  # no file, no PNG, or damaged
        return note, False
    return note, True
