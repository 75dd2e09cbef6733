"""What is wrong with a folder or zip of label maps: everything, in one run."""

import contextlib
import io
import os
import shutil
import struct
import zipfile
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import ROOT
from official import official
from PIL import Image

from cityseg_ext.apis.submission_check import check_submission
from cityseg_ext.apis.submission_findings import KINDS
from cityseg_ext.labels import (
    CITYSCAPES_19,
    CITYSCAPES_29,
    CITYSCAPES_IDS,
    IGNORE_INDEX,
    IMAGE_SIZE,
    SPLIT_CITIES,
    SPLIT_IMAGES,
    TAXONOMIES,
)

SIZE = (6, 10)


def png(pixels, mode=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def ids(seed=0, taxonomy=CITYSCAPES_19):
    """A label map of official ids."""
    indices = np.random.default_rng(seed).integers(0, taxonomy.num_classes, SIZE)
    return np.array(taxonomy.index_to_id, np.uint8)[indices]


@pytest.fixture
def photos(tmp_path):
    """Four photographs of test."""
    made = {}
    for number in range(4):
        key = f"{SPLIT_CITIES['test'][number]}_000000_{number:06d}"
        made[key] = str(tmp_path / f"{key}_leftImg8bit.png")
        cv2.imwrite(made[key], np.zeros((*SIZE, 3), np.uint8))
    return made


@pytest.fixture
def folder(tmp_path, photos):
    """Good label maps of these, in city folders."""
    root = tmp_path / "my, maps"
    for seed, key in enumerate(photos):
        path = root / key.partition("_")[0] / f"{key}_pred_labelIds.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(png(ids(seed)))
    return root


def zipped(folder):
    return shutil.make_archive(str(folder), "zip", folder)


def kinds(path, photos, split="val", **options):
    """The kinds of errors, in a folder and in the zip of it."""
    found = [check_submission(part, split, photos=photos, **options) for part in (path, zipped(path))]
    errors = [[finding.kind for finding in part.findings if finding.severity == "error"] for part in found]
    assert errors[0] == errors[1]
    return errors[0]


def test_good_ones_are_good(folder, photos):
    for path in (folder, zipped(folder)):
        check = check_submission(path, "val", photos=photos)
        assert check.errors == 0 and (check.files, check.images) == (4, 4)
        total = np.bincount(np.concatenate([ids(seed).ravel() for seed in range(4)]))
        assert check.pixels == {value: count for value, count in enumerate(total.tolist()) if count}
        assert str(check).endswith("each image of val once; see the warnings.")


def replace(folder, data):
    """Put other content into a label map."""
    next(folder.rglob("*.png")).write_bytes(data)


def with_chunk(data, name, body):
    """A PNG with another chunk after its header."""
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return data[:33] + chunk + data[33:]


GOOD = png(ids())
SHORT = zlib.compress(b"\0" * 11 * 3)  # three of six rows
LONG = zlib.compress(b"\7" * (1 << 24))  # as a bomb
JPEG = io.BytesIO()
Image.fromarray(ids()).save(JPEG, "JPEG")
CONTENT = {
    "JPEG": (JPEG.getvalue(), "no png"),
    "text": (b"hello", "no png"),
    "nothing": (b"", "no png"),
    "another size": (png(ids().T.copy()), "size"),
    "a bomb by its header": (GOOD[:16] + struct.pack(">II", 1 << 31, 1 << 31) + GOOD[24:], "size"),
    "a second header": (with_chunk(GOOD, b"IHDR", struct.pack(">II", 1 << 15, 1 << 15) + GOOD[24:29]), "damaged"),
    "RGB": (png(ids(), "RGB"), "mode"),
    "RGBA": (png(ids(), "RGBA"), "mode"),
    "grey with alpha": (png(ids(), "LA"), "mode"),
    "16 bit": (png(ids().astype(np.uint16)), "mode"),
    "1 bit": (png(ids() > 20), "mode"),
    "4 bit palette": (png(ids() // 3, "P", bits=4), "mode"),
    "only the signature": (GOOD[:8], "damaged"),
    "cut short": (GOOD[:-20], "damaged"),
    "without its end": (GOOD[:-12], "damaged"),
    "a wrong checksum": (GOOD[:-14] + b"x" + GOOD[-13:], "damaged"),
    "too few rows": (GOOD[:33] + with_chunk(bytes(33), b"IDAT", SHORT)[33:] + GOOD[-12:], "damaged"),
    "an id that is none": (png(np.where(ids() == 7, CITYSCAPES_IDS.num_classes, ids()).astype(np.uint8)), "ids"),
    "void as 255": (png(np.where(ids() == 7, IGNORE_INDEX, ids()).astype(np.uint8)), "ids"),
    "too many rows": (GOOD[:33] + with_chunk(bytes(33), b"IDAT", LONG)[33:] + GOOD[-12:], "damaged"),
    "too many bytes": (with_chunk(GOOD, b"tEXt", bytes(2 << 20)), "too large"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_that_is_no_label_map(folder, photos, name):
    data, kind = CONTENT[name]
    replace(folder, data)
    assert kinds(folder, photos) == [kind]


def test_bombs_in_texts_do_no_harm(folder, photos):
    replace(folder, with_chunk(GOOD, b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 26))))
    assert check_submission(folder, "val", photos=photos).errors == 0


def test_palette_images_are_read_by_index_and_warned_about(folder, photos):
    image = Image.fromarray(ids()).convert("P")
    image.putpalette([9, 9, 9] * 256)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=8)
    replace(folder, buffer.getvalue())
    check = check_submission(folder, "val", photos=photos)
    assert check.errors == 0 and set(np.unique(ids())) <= check.pixels.keys()
    assert "palette" in [finding.kind for finding in check.findings]


def test_images_and_names(folder, photos, tmp_path):
    first, second = list(photos)[:2]
    paths = {key: next(folder.rglob(f"{key}*")) for key in photos}
    assert kinds(folder, photos) == []
    shutil.copy(paths[first], folder / f"{first}.png")  # found too: the evaluation looks at any depth
    assert kinds(folder, photos) == ["several"]
    paths[second].rename(folder / f"{second}.PNG")  # not found: the evaluation looks for small letters
    assert kinds(folder, photos) == ["name", "missing", "several"]
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / f"._{first}.png").write_bytes(b"x")
    shutil.copy(paths[first], folder / "berlin_000009_000009.png")
    check = check_submission(folder, "val", photos=photos)
    items = {finding.kind: finding.items for finding in check.findings}
    assert items["foreign"] == (".DS_Store", f"__MACOSX/._{first}.png", "notes.txt")
    assert items["name"] == (f"{second}.PNG",) and items["missing"] == (second,)
    assert items["surplus"] == ("berlin_000009_000009",) and items["several"][0].startswith(f"{first}: ")
    assert list(items) == [kind for kind in KINDS if kind in items]


KEY = "berlin_000000_000019"
GOOD_NAMES = (f"{KEY}.png", f"{KEY}_pred_labelIds.png", f"{KEY}_leftImg8bit.png", f"{KEY}7 (1).png", f"a/b/{KEY}_x.png")
BAD_NAMES = (f"{KEY}.PNG", f"x_{KEY}.png", "berlin_000000_19.png", f"{KEY}.png.txt", f"{KEY}.jpg", f"._{KEY}.png")


@pytest.mark.parametrize("name", GOOD_NAMES + BAD_NAMES)
def test_names_are_found_where_the_official_script_finds_them(tmp_path, photos, name):
    (tmp_path / "maps" / name).parent.mkdir(parents=True)
    (tmp_path / "maps" / name).write_bytes(GOOD)
    args = SimpleNamespace(predictionPath=str(tmp_path / "maps"), predictionWalk=None)
    with contextlib.nullcontext() if name in GOOD_NAMES else pytest.raises(SystemExit):
        assert official().getPrediction(args, f"{KEY}_gtFine_labelIds.png") == str(tmp_path / "maps" / name)
    found = kinds(tmp_path / "maps", {KEY: next(iter(photos.values()))})
    assert ("missing" in found) == (name in BAD_NAMES) and bool(found) == (name in BAD_NAMES)


def test_links_and_pipes_of_a_folder_are_not_followed(folder, photos, tmp_path):
    path = next(folder.rglob("*.png"))
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to(tmp_path / "elsewhere.png")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    findings = check_submission(folder, "val", photos=photos).findings
    assert [finding.kind for finding in findings if finding.severity == "error"] == ["link", "missing"]
    assert len(findings[0].items) == 3
    with pytest.raises(ValueError, match="neither"):
        check_submission(folder / "pipe.png")


def test_nothing_at_all(tmp_path):
    (tmp_path / "empty").mkdir()
    assert [finding.kind for finding in check_submission(tmp_path / "empty").findings] == ["empty"]
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert [finding.kind for finding in check_submission(tmp_path / "empty.zip").findings] == ["empty"]
    (tmp_path / "no.zip").write_bytes(b"x")
    assert [finding.kind for finding in check_submission(tmp_path / "no.zip").findings] == ["archive"]
    with pytest.raises(FileNotFoundError, match="not there"):
        check_submission(tmp_path / "none")


@pytest.mark.parametrize("taxonomy", TAXONOMIES.values(), ids=TAXONOMIES)
def test_class_indices_are_recognised(folder, photos, taxonomy):
    for path in folder.rglob("*.png"):
        indices = np.random.default_rng(0).integers(0, taxonomy.num_classes, SIZE).astype(np.uint8)
        indices[0, 0], indices[1:3] = IGNORE_INDEX, 2  # building or road
        path.write_bytes(png(indices))
    check = check_submission(folder, "val", photos=photos)
    (finding,) = (finding for finding in check.findings if finding.severity == "error")
    assert finding.kind == "train ids" and len(finding.items) == 4
    assert taxonomy.name in finding.cure and f"1 -> {taxonomy.index_to_id[1]}" in finding.cure


FEW = (["road"], ["road", "pole"], ["sidewalk", "sky"], ["unlabeled", "road"], ["ground", "dynamic"])


@pytest.mark.parametrize("classes", FEW)
def test_official_ids_of_few_classes_are_not_taken_for_indices(folder, photos, classes):
    values = [CITYSCAPES_IDS.classes.index(name) for name in classes]
    for path in folder.rglob("*.png"):
        path.write_bytes(png(np.random.default_rng(0).choice(values, SIZE).astype(np.uint8)))
    assert kinds(folder, photos) == []


def test_ids_that_are_not_evaluated_are_a_warning_with_their_share(folder, photos):
    for path in folder.rglob("*.png"):
        path.write_bytes(png(ids(0, CITYSCAPES_29)))
    check = check_submission(folder, "val", photos=photos)
    (finding,) = (finding for finding in check.findings if finding.kind == "ignored")
    share = (ids(0, CITYSCAPES_29) == CITYSCAPES_IDS.classes.index("tunnel")).mean()
    assert check.errors == 0 and share and f"tunnel (16): {share:.3%} of all pixels" in finding.items


def test_without_photographs_number_cities_and_official_size_count(folder, tmp_path):
    found = {finding.kind: finding.items for finding in check_submission(folder, "test").findings}
    assert found["count"] == (f"4, but test has {SPLIT_IMAGES['test']}",) and len(found["size"]) == 4
    assert f"10x6, not {IMAGE_SIZE[1]}x{IMAGE_SIZE[0]}" in found["size"][0]
    found = {finding.kind: finding.items for finding in check_submission(folder, "val", SIZE).findings}
    assert len(found["surplus"]) == 4  # cities of test
    full = tmp_path / "full"
    full.mkdir()
    for number in range(SPLIT_IMAGES["test"]):
        (full / f"{SPLIT_CITIES['test'][number % 6]}_{number:06d}_000019_x.png").write_bytes(GOOD)
    check = check_submission(full, "test", SIZE)
    assert not check.findings and str(check).endswith("each image of test once, fit for upload.")


def test_on_test_the_photographs_must_be_complete_and_of_official_size(folder, photos):
    assert kinds(folder, photos, "test") == ["photographs", "size"]
    assert kinds(folder, photos, "test", size=SIZE) == ["photographs"]
    assert kinds(folder, photos, "val", size=(7, 7)) == ["size"]
    for options, name in ((dict(split="train"), "split"), (dict(size=(0, 3)), "size")):
        with pytest.raises(ValueError, match=name):
            check_submission(folder, **options)


def test_the_document_has_every_finding():
    text = (ROOT / "docs" / "submission.md").read_text()
    assert all(f"| {kind.title} |" in text for kind in KINDS.values())


def test_what_it_prints_cannot_command_a_terminal(folder, photos, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("\x1b]0;gotcha\x07.png", b"x")
    text = str(check_submission(tmp_path / "evil.zip"))
    assert "gotcha" in text and text.replace("\n", "").isprintable()
