"""Zips that were made to harm, or broke on the way: none is unpacked, and every one is refused by name."""

import io
import os
import random
import stat
import struct
import tracemalloc
import zipfile
import zlib

import pytest

from cityseg_ext.apis.submission_findings import Refused
from cityseg_ext.apis.submission_zip import MAX_MEMBERS, ZipMembers, write_zip

LIMIT = 1 << 20


def make(*members, method=zipfile.ZIP_DEFLATED):
    """The bytes of a zip; members are (name, content) or (ZipInfo, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for info, content in members:
            archive.writestr(info, content)
    return buffer.getvalue()


def info(name, **fields):
    made = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def patch(data, mark, offset, form, value):
    """Change a field of the first header that begins with a mark."""
    at = data.index(mark) + offset
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def both(data, local, central, form, value):
    """Change a field in the member's own header and in the list."""
    return patch(patch(data, b"PK\3\4", local, form, value), b"PK\1\2", central, form, value)


def read(tmp_path, data):
    """What can be read from a zip, and the kinds of what cannot."""
    path = tmp_path / "some.zip"
    path.write_bytes(data)
    members = ZipMembers(path)
    kinds, contents = [refusal.kind for refusal in members.refused], {}
    for name in members.names:
        try:
            contents[name] = members.read(name, LIMIT)
        except Refused as refusal:
            kinds.append(refusal.kind)
    assert os.listdir(tmp_path) == ["some.zip"]  # nothing was unpacked
    return contents, kinds


PLAIN = make(("a/x.png", b"content"), ("y.png", b""), ("z.png", bytes(range(256))))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_ordinary_zips_are_read(tmp_path, method):
    data = make(("a/", b""), ("a/x.png", b"content"), ("y.png", b""), ("ü, z.png", bytes(999)), method=method)
    contents, kinds = read(tmp_path, data)
    assert contents == {"a/x.png": b"content", "y.png": b"", "ü, z.png": bytes(999)} and not kinds


def test_zips_that_were_streamed_are_read(tmp_path):
    class Pipe(io.RawIOBase):
        data = b""

        def writable(self):
            return True

        def write(self, part):
            Pipe.data += bytes(part)
            return len(part)

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", b"content")
        archive.writestr("y.png", b"more")
    assert read(tmp_path, Pipe.data) == ({"x.png": b"content", "y.png": b"more"}, [])


ELSEWHERE = ("../x.png", "a/../../x.png", "/etc/x.png", "a//x.png", "./x.png", "..", "a\\x.png", "C:x.png")
MISLEADING = ("a\nb.png", "x\x1b[2J.png", "\u202egnp.x", "d/" * 9 + "x.png", "x" * 256)


@pytest.mark.parametrize("name", ELSEWHERE + MISLEADING)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    assert read(tmp_path, make((name, b"x"), ("good.png", b"y"))) == ({"good.png": b"y"}, ["unsafe name"])


def test_long_names_do_not_fill_the_memory(tmp_path):
    data = make(("x" + "/a" * 10_000, b""))
    tracemalloc.start()
    assert read(tmp_path, data) == ({}, ["unsafe name"])
    assert tracemalloc.get_traced_memory()[1] < 20 * len(data)
    tracemalloc.stop()


def test_nul_does_not_shorten_a_name(tmp_path):
    data = make(("x.png_sh", b"x")).replace(b"x.png_sh", b"x.png\0sh")
    assert read(tmp_path, data) == ({}, ["unsafe name"])


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    member = info("x.png", create_system=3, external_attr=(kind | 0o777) << 16)
    assert read(tmp_path, make((member, b"/etc/passwd"))) == ({}, ["link"])


SECOND_NAME = struct.pack("<HHBL", 0x7075, 5 + 8, 1, 0) + b"../x.png"
LIES = {
    "encrypted": (both(PLAIN, 6, 8, "<H", 1), "encrypted"),
    "encrypted in its own header only": (patch(PLAIN, b"PK\3\4", 6, "<H", 1), "false"),
    "bzip2": (make(("x.png", b"x"), method=zipfile.ZIP_BZIP2), "compression"),
    "lzma": (make(("x.png", b"x"), method=zipfile.ZIP_LZMA), "compression"),
    "smaller than declared": (both(PLAIN, 22, 24, "<L", 9), "false"),
    "larger than declared": (both(PLAIN, 22, 24, "<L", 5), "false"),
    "larger, with the checksum of its beginning": (
        both(both(PLAIN, 22, 24, "<L", 5), 14, 16, "<L", zlib.crc32(b"conte")),
        "false",
    ),
    "two sizes": (patch(PLAIN, b"PK\3\4", 22, "<L", 8), "false"),
    "two methods": (patch(PLAIN, b"PK\3\4", 8, "<H", 0), "false"),
    "two names": (PLAIN.replace(b"a/x.png", b"b/x.png", 1), "false"),
    "wrong checksum": (both(PLAIN, 14, 16, "<L", 0), "false"),
    "damaged content": (PLAIN.replace(zlib.compress(b"content")[2:-4], b"\xff" * 9), "false"),
    "own header elsewhere": (patch(PLAIN, b"PK\1\2", 42, "<L", 1), "false"),
    "reaches into the next": (both(PLAIN, 18, 20, "<L", 60), "overlap"),
    "same name twice": (PLAIN.replace(b"y.png", b"z.png"), "repeated"),
    "folder with content": (PLAIN.replace(b"a/x.png", b"a/xpng/"), "false"),
    "file that is a folder": (make(("a", b"x"), ("a/b.png", b"y")), "false"),
    "folder that is a file": (make((info("x.png", external_attr=(stat.S_IFDIR | 0o755) << 16), b"x")), "false"),
    "second name": (make((info("x.png", extra=SECOND_NAME), b"x")), "unsafe name"),
    "declared too large": (both(PLAIN, 22, 24, "<L", LIMIT + 1), "too large"),
    "zip64 size": (both(PLAIN, 22, 24, "<L", 0xFFFFFFFF), "too large"),
    "bomb": (make(("x.png", bytes(LIMIT))), "too large"),
    "too large as it is": (make(("x.png", random.Random(0).randbytes(LIMIT + 1))), "too large"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", LIES)
def test_lies_of_members_are_found(tmp_path, name):
    data, kind = LIES[name]
    contents, kinds = read(tmp_path, data)
    assert kinds == [kind] and len(contents) == len(zipfile.ZipFile(io.BytesIO(data)).namelist()) - 1


def quoted(count):
    """A bomb of members that all hold the same core: each one's own header is stored bytes of the one before."""
    names = [f"{number:03}.png".encode() for number in range(count)]
    core = bytes(1000)
    local, listing = b"", b""
    for number in reversed(range(count)):
        size = len(core) + len(local)
        head = (0, 0, 0, 0, 0, zlib.crc32(local + core), size, size, len(names[number]), 0)
        local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, *head[1:]) + names[number] + local
    at = 0
    for number in range(count):
        crc, packed, size = struct.unpack_from("<3L", local, at + 14)
        fields = (20, 20, 0, 0, 0, 0, crc, packed, size, len(names[number]), 0, 0, 0, 0, 0, at)
        listing += struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + names[number]
        at += 30 + len(names[number])
    local += core
    return local + listing + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listing), len(local), 0)


def test_members_that_quote_each_other_are_refused(tmp_path):
    contents, kinds = read(tmp_path, quoted(50))
    assert kinds == ["overlap"] * 49 and list(contents) == ["049.png"]


END = b"PK\5\6"
BROKEN = {
    "empty file": b"",
    "text": b"not a zip, but long enough to be looked into" * 9,
    "cut short": PLAIN[:-30],
    "a byte short": PLAIN[:-1],
    "bytes in front": b"#!/bin/sh\n" + PLAIN,
    "bytes behind": PLAIN + b"x",
    "beginning lost": PLAIN[20:],
    "one of several parts": patch(PLAIN, END, 4, "<H", 1),
    "fewer members than listed": patch(PLAIN, END, 8, "<H", 1),
    "zip64": PLAIN.replace(END, b"PK\6\7" + bytes(16) + END),
    "zip64 mark": patch(PLAIN, END, 16, "<L", 0xFFFFFFFF),
    "list elsewhere": patch(PLAIN, END, 16, "<L", 5),
    "list too long": patch(PLAIN, END, 12, "<L", 1 << 30),
    "damaged list": PLAIN.replace(b"PK\1\2", b"PK\1\3", 1),
    "header behind the list": patch(PLAIN, b"PK\1\2", 42, "<L", len(PLAIN)),
    "names that are no text": PLAIN.replace(b"a/x.png", b"a/\xff.png").replace(
        b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\0\x08"
    ),
    "too many members": patch(patch(PLAIN, END, 8, "<H", MAX_MEMBERS + 1), END, 10, "<H", MAX_MEMBERS + 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives_are_refused_as_a_whole(tmp_path, name):
    assert read(tmp_path, BROKEN[name]) == ({}, ["archive"])


def test_a_comment_is_no_harm_and_hides_nothing(tmp_path):
    data = patch(PLAIN, END, 20, "<H", 5) + b"hello"
    assert len(read(tmp_path, data)[0]) == 3
    hidden = make(("other.png", b"x"))
    assert read(tmp_path, patch(PLAIN, END, 20, "<H", len(hidden)) + hidden) == ({}, ["archive"])


def test_any_damage_is_refused_and_nothing_grows(tmp_path):
    """500 random changes: never another error, never more than the limit, never content that is not the original."""
    rng = random.Random(0)
    truth = {b"content", b"", bytes(range(256))}
    refused = 0
    for _ in range(500):
        data = bytearray(PLAIN)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        contents, kinds = read(tmp_path, bytes(data))
        assert set(contents.values()) <= truth
        refused += bool(kinds)
    assert refused > 250


def test_the_same_files_give_the_same_bytes(tmp_path):
    files = [tmp_path / name for name in ("b.png", "a.png")]
    for file in files:
        file.write_bytes(file.name.encode())
    write_zip(tmp_path / "1.zip", files)
    for file in files:
        file.chmod(0o600)
        os.utime(file, (1e9, 1e9))
    write_zip(tmp_path / "2.zip", files[::-1])
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    members = ZipMembers(tmp_path / "1.zip")
    assert members.names == ["a.png", "b.png"] and members.read("b.png", 99) == b"b.png" and not members.refused
