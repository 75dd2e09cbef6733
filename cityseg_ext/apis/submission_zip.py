"""Zip archives of label maps: written the same every time, and read without trusting a byte of them.

Nothing is ever unpacked to disk. Members are read one at a time into memory, never beyond what a label map can need.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from cityseg_ext.apis.submission_findings import Refused

MAX_MEMBERS = 10_000
MAX_DEPTH = 8
MAX_NAME = 255
_MAX_DIRECTORY = MAX_MEMBERS * 1024  # bytes of the list of members
_MAX_RATIO = 100  # PNG files are compressed already; of small ones, such as maps of one class, a zip can make nothing
_SMALL = 1 << 16
_END = struct.Struct("<4s4H2LH")  # end of central directory
_LOCAL = struct.Struct("<4s5H3L2H")  # header in front of a member
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_SIZES_FOLLOW, _UTF8 = 0x8, 0x800
_NAME_FIELD = 0x7075


def write_zip(path: Path, files: Sequence[Path]) -> None:
    """Write files into a zip, by their names alone; the same files give the same bytes.

    They are stored as they are: PNG files are compressed already, and other versions of zlib compress otherwise.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(files, key=lambda file: file.name):
            info = zipfile.ZipInfo(file.name, _TIME)
            info.create_system = 3  # Unix, wherever it is written
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, file.read_bytes())


class ZipMembers:
    """The files of a zip that may be read.

    Args:
        path: the zip.

    Attributes:
        names: the members that can be read safely, sorted.
        refused: why the others, or the whole archive, cannot.
        files: how many files the archive lists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.refused: list[Refused] = []
        self.files = 0
        try:
            listed, start = _read_directory(path)
        except Refused as refusal:
            self.refused.append(refusal)
            return
        self.files = sum(not info.orig_filename.endswith("/") for info in listed)
        self._ends = _ends(listed, start)
        # Of longer names, which are refused, the beginnings alone could fill the memory.
        paths = [info.orig_filename.rstrip("/") for info in listed if len(info.orig_filename) <= MAX_NAME]
        folders = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
        for info in listed:
            refusal = _refusal(info, folders)
            if refusal is None and info.orig_filename in self._members:
                refusal = Refused("repeated", info.orig_filename)
            if refusal is not None:
                self.refused.append(refusal)
            elif not info.orig_filename.endswith("/"):
                self._members[info.orig_filename] = info

    @property
    def names(self) -> list[str]:
        return sorted(self._members)

    def read(self, name: str, limit: int) -> bytes:
        """The content of a member.

        Args:
            name: one of :attr:`names`.
            limit: the largest that it may be, in bytes.

        Raises:
            Refused: if it is larger, or not what the archive says.
        """
        info = self._members[name]
        size = max(info.file_size, info.compress_size)
        if size > limit:
            raise Refused("too large", f"{name} ({size} bytes)")
        if info.file_size > _SMALL and info.file_size > _MAX_RATIO * info.compress_size:
            raise Refused("too large", f"{name} ({info.file_size} bytes, compressed to {info.compress_size})")
        try:
            with open(self._path, "rb") as file:
                data = _unpack(_packed(file, info, self._ends[name]), info)
        except OSError as error:
            raise Refused("unreadable", f"{name} ({error.strerror})") from error
        except zlib.error as error:
            raise Refused("false", f"{name} (damaged: {error})") from error
        if len(data) != info.file_size:
            raise Refused("false", f"{name} (larger or smaller than the {info.file_size} bytes declared)")
        if zlib.crc32(data) != info.CRC:
            raise Refused("false", f"{name} (wrong checksum)")
        return data


def _read_directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """All members that the archive lists, and where its list begins.

    The end of the archive is looked at first: what it says bounds the work of reading the list.
    """
    try:
        with open(path, "rb") as file:
            end = _check_end(file)
            with zipfile.ZipFile(file) as archive:
                listed, start = archive.infolist(), archive.start_dir
    except OSError as error:
        raise Refused("archive", f"{path.name} ({error.strerror or error})") from error
    except Refused as refusal:
        raise Refused("archive", f"{path.name} ({refusal.item})") from refusal
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise Refused("archive", f"{path.name} ({error})") from error
    if start != end or not all(0 <= info.header_offset < start for info in listed):
        raise Refused("archive", f"{path.name} (its list of members is damaged)")
    return listed, start


def _check_end(file: BinaryIO) -> int:
    """Where the list of members begins, from the end of an ordinary archive."""
    size = file.seek(0, os.SEEK_END)
    before = max(0, size - _END.size - 0xFFFF - 20)
    file.seek(before)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        kind = "cut short" if _first(file) == b"PK\3\4" else "not a zip"
        raise Refused("archive", kind)
    _, disk, first_disk, here, members, length, offset, comment = _END.unpack_from(tail, at)
    if tail[max(0, at - 20) :][:4] == b"PK\6\7" or members == 0xFFFF or offset == 0xFFFFFFFF or length == 0xFFFFFFFF:
        raise Refused("archive", "zip64, which no submission needs")
    if members > MAX_MEMBERS or length > _MAX_DIRECTORY:
        raise Refused("archive", f"{members} members; at most {MAX_MEMBERS} are read")
    if disk or first_disk or here != members:
        raise Refused("archive", "one part of several")
    if offset + length != before + at or before + at + _END.size + comment != size:
        raise Refused("archive", "bytes in front of it, behind it or missing")
    return offset


def _first(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(4)


def _ends(listed: list[zipfile.ZipInfo], start: int) -> dict[str, int]:
    """Where the bytes of each member must have ended: where the next one, or the list, begins."""
    ordered = sorted(listed, key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in ordered), start][1:]
    return {info.orig_filename: following for info, following in zip(ordered, starts, strict=True)}


def _refusal(info: zipfile.ZipInfo, folders: set[str]) -> Refused | None:
    """Why a member must not be read."""
    name = info.orig_filename
    parts = name.removesuffix("/").split("/")
    if (
        any(part in ("", ".", "..") for part in parts)  # the first is empty in absolute paths
        or "\\" in name
        or ":" in parts[0]
        or not name.isprintable()
        or len(name) > MAX_NAME
        or len(parts) > MAX_DEPTH
        or _has_second_name(info.extra)
    ):
        return Refused("unsafe name", repr(name[: MAX_NAME + 1]))
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return Refused("link", name)
    if name.endswith("/"):
        empty = info.file_size == 0 and info.compress_size <= 2  # as many as 'deflate' makes of nothing
        return None if empty else Refused("false", f"{name} (a folder with content)")
    if stat.S_ISDIR(info.external_attr >> 16) or name in folders:
        return Refused("false", f"{name} (both a file and a folder)")
    if info.flag_bits & _ENCRYPTED:
        return Refused("encrypted", name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Refused("compression", f"{name} (method {info.compress_type})")
    return None


def _packed(file: BinaryIO, info: zipfile.ZipInfo, end: int) -> bytes:
    """The compressed bytes of a member, whose own header must say what the list says."""
    name = info.orig_filename
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise Refused("false", f"{name} (cut short)")
    mark, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    own_name = file.read(name_length)
    if mark != b"PK\3\4" or own_name != _raw_name(info):
        raise Refused("false", f"{name} (its own header has another name)")
    told = (crc, packed, size) if not flags & _SIZES_FOLLOW else (info.CRC, info.compress_size, info.file_size)
    if (method, *told) != (info.compress_type, info.CRC, info.compress_size, info.file_size) or flags & _ENCRYPTED:
        raise Refused("false", f"{name} (its own header says something else)")
    if _has_second_name(file.read(extra_length)):
        raise Refused("unsafe name", f"{name!r} (with a second name)")
    if file.tell() + info.compress_size > end:
        raise Refused("overlap", name)
    return file.read(info.compress_size)


def _unpack(packed: bytes, info: zipfile.ZipInfo) -> bytes:
    """At most one byte more than declared, so that a lie shows and no bomb goes off."""
    if info.compress_type == zipfile.ZIP_STORED:
        return packed
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    data = stream.decompress(packed, info.file_size + 1)
    if not stream.eof or stream.unused_data:
        raise Refused("false", f"{info.orig_filename} (more or fewer bytes than declared)")
    return data


def _has_second_name(extra: bytes) -> bool:
    """Whether there is a field that some programs take the name from instead."""
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<2H", extra)
        if tag == _NAME_FIELD:
            return True
        extra = extra[4 + length :]
    return False


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
