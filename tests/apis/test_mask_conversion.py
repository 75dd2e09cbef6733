import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cityseg_ext.apis import mask_conversion
from cityseg_ext.apis.mask_conversion import convert_masks
from cityseg_ext.apis.mask_file import MaskFacts, Outcome
from cityseg_ext.labels import (
    CITYSCAPES_19,
    CITYSCAPES_29,
    COLOR_ALIASES,
    IGNORE_INDEX,
    LABEL_SUFFIXES,
    LABELS,
    PHOTO_SUFFIXES,
    TAXONOMIES,
)

OFFICIAL = [label for label in LABELS if label.id >= 0]
IDS = np.array([[label.id for label in OFFICIAL]] * 2, np.uint8)
COLORS = np.array([[label.color for label in OFFICIAL]] * 2, np.uint8)


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def read(path):
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def bytes_below(folder):
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


@pytest.fixture
def colors(tmp_path):
    """Three colour masks in two cities."""
    for name in ("train/aachen/a_000000", "train/aachen/b_000000", "val/bonn/c_000000"):
        write(tmp_path / "gtFine" / f"{name}{LABEL_SUFFIXES['color']}", COLORS)
    return tmp_path / "gtFine"


def expected_from_colors(target, taxonomy):
    """One label at a time, as slow as can be."""
    names = {}
    for label in sorted(OFFICIAL, key=lambda label: not label.ignore_in_eval):
        names[label.color] = label
    row = []
    for label in OFFICIAL:
        seen = names[label.color]
        if target == "label_ids":
            row.append(0 if seen.color == (0, 0, 0) else seen.id)
        else:
            row.append(taxonomy.classes.index(seen.name) if seen.name in taxonomy.classes else IGNORE_INDEX)
    return np.array([row] * 2, np.uint8)


@pytest.mark.parametrize("target", ["train_ids", "label_ids"])
@pytest.mark.parametrize("taxonomy", TAXONOMIES.values(), ids=TAXONOMIES)
def test_every_official_colour(colors, tmp_path, target, taxonomy):
    report = convert_masks(colors, tmp_path / "out", target=target, taxonomy=taxonomy, workers=0)
    assert report.counts == dict(converted=3, skipped=0, missing=0, corrupt=0, left=0)
    masks = [f"{name}_000000_mask.png" for name in ("train/aachen/a", "train/aachen/b", "val/bonn/c")]
    assert files_below(tmp_path / "out") == ["conversion.json", *masks]
    for name in masks:  # the same for every split
        np.testing.assert_array_equal(read(tmp_path / "out" / name), expected_from_colors(target, taxonomy))


@pytest.mark.parametrize("taxonomy", TAXONOMIES.values(), ids=TAXONOMIES)
def test_every_official_id(tmp_path, taxonomy):
    write(tmp_path / "in" / f"x{LABEL_SUFFIXES['label_ids']}", IDS)
    convert_masks(tmp_path / "in", tmp_path / "train", source="label_ids", taxonomy=taxonomy, workers=0)
    expected = [taxonomy.id_to_index[label.id] for label in OFFICIAL]
    np.testing.assert_array_equal(read(tmp_path / "train" / "x_mask.png")[0], expected)

    convert_masks(
        tmp_path / "in", tmp_path / "ids", source="label_ids", target="label_ids", taxonomy=taxonomy, workers=0
    )
    np.testing.assert_array_equal(read(tmp_path / "ids" / "x_mask.png"), IDS)  # nothing is dropped on the way

    convert_masks(
        *(tmp_path / "train", tmp_path / "back"),
        **dict(source="train_ids", target="label_ids", taxonomy=taxonomy, label_suffix="_mask.png", workers=0),
    )
    expected = [label.id if label.name in taxonomy.classes else 0 for label in OFFICIAL]
    np.testing.assert_array_equal(read(tmp_path / "back" / "x_mask.png")[0], expected)


def test_an_alias_and_void_in_ids_have_their_official_id(tmp_path):
    write(tmp_path / f"x{LABEL_SUFFIXES['color']}", np.array([[list(COLOR_ALIASES)[0]]], np.uint8))
    convert_masks(tmp_path, tmp_path / "a", target="label_ids", workers=0)
    assert read(tmp_path / "a" / "x_mask.png").tolist() == [[23]]
    write(tmp_path / f"x{LABEL_SUFFIXES['label_ids']}", np.array([[255, 40, 7]], np.uint8))
    report = convert_masks(tmp_path, tmp_path / "b", source="label_ids", target="label_ids", workers=0)
    assert read(tmp_path / "b" / "x_mask.png").tolist() == [[0, 0, 7]]
    assert report.pixels == {"all": 3, "exact": 2, "resolved": 0, "uncertain": 0, "unknown": 1}


def test_unknown_colours_are_void_and_counted_or_an_error(tmp_path):
    road = CITYSCAPES_19.palette[0]
    write(tmp_path / "in" / f"x{LABEL_SUFFIXES['color']}", np.array([[road, (1, 2, 3), (1, 2, 3)]], np.uint8))
    report = convert_masks(tmp_path / "in", tmp_path / "out", workers=0)
    assert read(tmp_path / "out" / "x_mask.png").tolist() == [[0, 255, 255]]
    (facts,) = report.converted.values()
    assert facts == MaskFacts({"all": 3, "exact": 1, "resolved": 0, "uncertain": 0, "unknown": 2}, 1, {"(1, 2, 3)": 2})
    again = convert_masks(tmp_path / "in", tmp_path / "out", workers=0)
    assert list(again.skipped.values()) == [facts] and again.pixels == report.pixels  # a second run forgets nothing

    strict = convert_masks(tmp_path / "in", tmp_path / "strict", unknown="error", workers=0)
    (reason,) = strict.corrupt.values()
    assert "(1, 2, 3): 2 pixels" in reason and f"x{LABEL_SUFFIXES['color']}" in reason
    assert files_below(tmp_path / "strict") == ["conversion.json"]


def test_processes_give_the_same_bytes(colors, tmp_path):
    calls = []
    convert_masks(colors, tmp_path / "one", workers=1)
    convert_masks(colors, tmp_path / "two", workers=2, progress=lambda *numbers: calls.append(numbers))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    one, two = bytes_below(tmp_path / "one"), bytes_below(tmp_path / "two")
    assert len(one) == 4 and {**one, "conversion.json": None} == {**two, "conversion.json": None}


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_files_are_named_and_do_not_stop_the_run(colors, tmp_path, workers):
    end = LABEL_SUFFIXES["color"]
    good = (colors / f"val/bonn/c_000000{end}").read_bytes()
    (colors / f"empty{end}").write_bytes(b"")
    (colors / f"truncated{end}").write_bytes(good[: len(good) // 2])
    (colors / f"text{end}").write_text("no image")
    (colors / f"bomb{end}").write_bytes(png_header(30000, 30000))
    (colors / f"nowhere{end}").symlink_to(tmp_path / "nothing")
    write(colors / f"grey{end}", np.zeros((2, 2), np.uint8))
    write(colors / f"wide{end}", np.zeros((2, 2), np.uint16))
    report = convert_masks(colors, tmp_path / "out", workers=workers)
    assert report.counts == dict(converted=3, skipped=0, missing=0, corrupt=7, left=0)
    written = json.loads((tmp_path / "out" / "conversion.json").read_text())
    names = [entry["label"] for entry in written["corrupt"]]
    assert [os.path.basename(name).removesuffix(end) for name in names] == [
        *("bomb", "empty", "grey", "nowhere", "text", "truncated", "wide")
    ]
    for entry in written["corrupt"]:
        assert entry["label"] in entry["reason"]
    assert len([name for name in files_below(tmp_path / "out") if name.endswith(".png")]) == 3


def test_alpha_palette_and_wide_files(tmp_path):
    road, other = CITYSCAPES_19.palette[:2]
    write(tmp_path / f"alpha{LABEL_SUFFIXES['color']}", np.array([[(*road, 255), (*road, 0)]], np.uint8))
    palette = Image.new("P", (2, 1))
    palette.putpalette([*road, *other])
    palette.putdata([0, 1])
    palette.save(tmp_path / f"palette{LABEL_SUFFIXES['color']}")
    report = convert_masks(tmp_path, tmp_path / "out", workers=0)
    assert read(tmp_path / "out" / "alpha_mask.png").tolist() == [[0, IGNORE_INDEX]]
    assert read(tmp_path / "out" / "palette_mask.png").tolist() == [[0, 1]]
    assert report.pixels["unknown"] == 1
    write(tmp_path / f"wide{LABEL_SUFFIXES['label_ids']}", np.array([[26, 26001]], np.uint16))
    convert_masks(tmp_path, tmp_path / "ids", source="label_ids", workers=0)
    assert read(tmp_path / "ids" / "wide_mask.png").tolist() == [[13, IGNORE_INDEX]]


def test_pairs(tmp_path):
    photo = np.full((2, 3, 3), 9, np.uint8)
    mask = np.array([CITYSCAPES_19.palette[:3]] * 2, np.uint8)
    pairs = tmp_path / "pairs"
    write(pairs / "val" / "1.PNG", np.hstack([photo, mask]))
    write(pairs / "odd.JPG", np.hstack([photo, mask])[:, :-1])
    write(pairs / "grey.jpg", np.zeros((2, 4), np.uint8))
    Image.new("CMYK", (4, 2)).save(pairs / "cmyk.jpeg")
    report = convert_masks(pairs, tmp_path / "out", source="pairs", workers=0)
    assert {os.path.basename(job.label) for job in report.corrupt} == {"odd.JPG", "grey.jpg", "cmyk.jpeg"}
    assert "even width" in report.corrupt[min(report.corrupt, key=lambda job: "odd" not in job.label)]
    convert_masks(pairs, tmp_path / "out", source="pairs", label_suffix=".png", mode="exact", workers=0)
    assert read(tmp_path / "out" / "val" / "1_mask.png").tolist() == [[0, 1, 2]] * 2

    write(pairs / "val" / "1.PNG", np.hstack([mask, photo]))
    convert_masks(
        pairs,
        tmp_path / "left",
        source="pairs",
        mode="exact",
        half="left",
        label_suffix=".png",
        max_images=2,
        workers=0,
    )
    assert read(tmp_path / "left" / "val" / "1_mask.png").tolist() == [[0, 1, 2]] * 2


def test_pairs_of_one_name_are_refused(tmp_path):
    write(tmp_path / "in" / "1.jpeg", np.zeros((2, 4, 3), np.uint8))
    write(tmp_path / "in" / "1.jpg", np.zeros((2, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="one file for '1'"):
        convert_masks(tmp_path / "in", tmp_path / "out", source="pairs")
    assert not (tmp_path / "out").exists()


def test_a_second_run_does_only_what_is_missing(colors, tmp_path):
    out = tmp_path / "out"
    convert_masks(colors, out, workers=0, max_images=2)
    assert not (out / "val").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    report = convert_masks(colors, out, workers=0)
    assert report.counts == dict(converted=1, skipped=2, missing=0, corrupt=0, left=0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert convert_masks(colors, out, workers=0, overwrite=True).counts["converted"] == 3


def test_a_changed_label_is_converted_again_even_if_it_is_older(colors, tmp_path):
    out = tmp_path / "out"
    convert_masks(colors, out, workers=0)
    label = write(colors / f"val/bonn/c_000000{LABEL_SUFFIXES['color']}", COLORS[:, ::-1])
    os.utime(label, (1, 1))
    report = convert_masks(colors, out, workers=0)
    assert [job.label for job in report.converted] == [str(label)]
    expected = expected_from_colors("train_ids", CITYSCAPES_19)[:, ::-1]
    np.testing.assert_array_equal(read(out / "val/bonn/c_000000_mask.png"), expected)


def test_a_mask_that_lost_its_end_is_made_again(colors, tmp_path):
    out = tmp_path / "out"
    convert_masks(colors, out, workers=0)
    mask = out / "val/bonn/c_000000_mask.png"
    whole = mask.read_bytes()
    mask.write_bytes(whole[:-20])
    assert convert_masks(colors, out, workers=0).counts["converted"] == 1
    assert mask.read_bytes() == whole


@pytest.mark.parametrize(
    "other", [dict(target="label_ids"), dict(taxonomy="cityscapes29"), dict(unknown="error")], ids=str
)
def test_masks_of_other_settings_are_neither_kept_nor_replaced_by_surprise(colors, tmp_path, other):
    out = tmp_path / "out"
    convert_masks(colors, out, workers=0)
    before = bytes_below(out)
    with pytest.raises(ValueError, match="--overwrite"):
        convert_masks(colors, out, workers=0, **other)
    assert bytes_below(out) == before
    assert convert_masks(colors, out, workers=0, overwrite=True, **other).counts["converted"] == 3


def test_files_of_others_stay(colors, tmp_path):
    own = write(tmp_path / "out" / "val/bonn/c_000000_mask.png", IDS).read_bytes()
    with pytest.raises(ValueError, match="c_000000_mask.png"):
        convert_masks(colors, tmp_path / "out", workers=0)
    assert files_below(tmp_path / "out") == ["val/bonn/c_000000_mask.png"]
    assert (tmp_path / "out" / "val/bonn/c_000000_mask.png").read_bytes() == own
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(ValueError, match="notes.json"):
        convert_masks(colors, tmp_path / "new", workers=0, report=tmp_path / "notes.json")
    assert (tmp_path / "notes.json").read_text() == "{}" and not (tmp_path / "new").exists()


def test_official_names_in_place(colors):
    before = bytes_below(colors)
    for _ in range(2):
        report = convert_masks(colors, colors, suffix="official", workers=0)
    assert report.counts["skipped"] == 3
    after = bytes_below(colors)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        "conversion.json",
        *(name.replace(LABEL_SUFFIXES["color"], LABEL_SUFFIXES["train_ids"]) for name in before),
    }
    # The masks of one conversion may be the labels of the next, in place too.
    report = convert_masks(
        colors,
        colors,
        source="train_ids",
        target="label_ids",
        suffix="official",
        report=colors / "second.json",
        workers=0,
    )
    assert report.counts["converted"] == 3


def test_own_masks_are_never_taken_for_labels(tmp_path):
    labels = tmp_path / "in"
    write(labels / "a.png", COLORS)
    write(labels / "deep" / "b.png", COLORS)
    options = dict(label_suffix=".png", workers=0)
    for _ in range(3):
        report = convert_masks(labels, labels / "masks", **options)
        assert report.counts["converted"] + report.counts["skipped"] == 2
    assert convert_masks(labels, labels / "others", **options).counts["converted"] == 2
    (labels / "a.png").unlink()  # its mask stays, and is still no label
    assert convert_masks(labels, labels / "masks", **options).counts["skipped"] == 1
    assert files_below(labels / "masks") == ["a_mask.png", "conversion.json", "deep/b_mask.png"]
    before = bytes_below(labels)
    for place in (labels, labels / "deep"):
        with pytest.raises(ValueError, match="a folder without labels"):
            convert_masks(labels, place, **options)
    assert bytes_below(labels) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_labels_are_never_written_over(colors, tmp_path, overwrite, link):
    label = colors / f"val/bonn/c_000000{LABEL_SUFFIXES['color']}"
    (tmp_path / "out/val/bonn").mkdir(parents=True)
    link(label, tmp_path / "out/val/bonn/c_000000_mask.png")
    before = label.read_bytes()
    with pytest.raises(ValueError, match="no label is overwritten"):
        convert_masks(colors, tmp_path / "out", workers=0, overwrite=overwrite)
    assert label.read_bytes() == before and len(files_below(tmp_path / "out")) == 1


def test_photographs_without_label_are_missing(colors, tmp_path):
    photos = tmp_path / "leftImg8bit"
    for name in ("train/aachen/a_000000", "val/bonn/c_000000", "val/bonn/lost_000000"):
        write(photos / f"{name}{PHOTO_SUFFIXES[1]}", COLORS)
    report = convert_masks(colors, tmp_path / "out", workers=0)  # found beside gtFine
    lost = str(photos / f"val/bonn/lost_000000{PHOTO_SUFFIXES[1]}")
    assert list(report.missing) == [lost] and report.counts["converted"] == 3
    written = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert written["missing"][0]["photo"] == lost and LABEL_SUFFIXES["color"] in written["missing"][0]["reason"]
    assert list(convert_masks(colors / "val", tmp_path / "val", workers=0).missing) == [lost]
    with pytest.raises(FileNotFoundError, match="--photo-suffix"):
        convert_masks(colors, tmp_path / "out", workers=0, photos=colors)
    write(tmp_path / "pictures" / "val" / "x.jpg", COLORS)
    report = convert_masks(colors, tmp_path / "out", workers=0, photos=tmp_path / "pictures", photo_suffix=".jpg")
    assert list(report.missing) == [str(tmp_path / "pictures" / "val" / "x.jpg")]


def test_photographs_of_two_kinds_or_of_other_names_do_not_matter(colors, tmp_path):
    for suffix in PHOTO_SUFFIXES:
        write(tmp_path / "leftImg8bit" / f"val/bonn/c_000000{suffix}", COLORS)
    write(tmp_path / "leftImg8bit" / "other.jpg", COLORS)
    assert convert_masks(colors, tmp_path / "out", workers=0).missing == {}
    for path in (tmp_path / "leftImg8bit" / "val" / "bonn").iterdir():
        path.unlink()
    assert convert_masks(colors, tmp_path / "out", workers=0).missing == {}


def test_odd_names_and_loops(tmp_path):
    end = LABEL_SUFFIXES["color"]
    label = write(tmp_path / "in" / "Köln, Süd 東京" / f"a b,c{end.upper()}", COLORS)
    (label.parent / "loop").symlink_to(tmp_path / "in")
    write(tmp_path / "in" / f".hidden{end}", COLORS)
    raw = os.fsdecode(os.fsencode(str(tmp_path / "in")) + b"/caf\xe9" + end.encode())
    os.link(label, raw)
    report = convert_masks(tmp_path / "in", tmp_path / "out put", workers=2)
    assert report.counts == dict(converted=2, skipped=0, missing=0, corrupt=0, left=0)
    assert (tmp_path / "out put" / "Köln, Süd 東京" / "a b,c_mask.png").is_file()
    assert convert_masks(tmp_path / "in", tmp_path / "out put").counts["skipped"] == 2
    written = json.loads((tmp_path / "out put" / "conversion.json").read_text("utf-8"))
    assert {entry["label"] for entry in written["skipped"]} == {str(label), raw}


def test_an_interrupt_leaves_whole_files_and_a_report(colors, tmp_path):
    out = tmp_path / "out"

    def interrupt(done, total):
        raise KeyboardInterrupt

    for workers, reached in ((0, {1}), (2, {1, 2, 3})):
        with pytest.raises(KeyboardInterrupt):
            convert_masks(colors, out, workers=workers, overwrite=True, progress=interrupt)
        counts = json.loads((out / "conversion.json").read_text())["counts"]
        assert counts["converted"] == 1 and counts["left"] == 2
        masks = list(out.rglob("*_mask.png"))
        assert len(masks) in reached
        for mask in masks:
            read(mask)
    report = convert_masks(colors, out, workers=0)
    assert report.counts["converted"] + report.counts["skipped"] == 3


def test_a_failed_write_ends_the_run_and_leaves_nothing(colors, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("cityseg_ext.apis.mask_file.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        convert_masks(colors, tmp_path / "out", workers=0)
    assert files_below(tmp_path / "out") == []


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(colors, tmp_path):
    out = tmp_path / "out" / "val"
    out.mkdir(parents=True)
    for name in (".123-4.cityseg-part", ".x.cityseg-part", "123-4.cityseg-part", ".123.part"):
        (out / name).write_bytes(b"half")
    convert_masks(colors, tmp_path / "out", workers=0)
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
        *(".123.part", ".x.cityseg-part", "123-4.cityseg-part")
    ]


def _die(job, conversion) -> Outcome:
    os._exit(9)


def test_a_killed_worker_is_a_clear_error(colors, tmp_path, monkeypatch):
    monkeypatch.setattr(mask_conversion, "convert_file", _die)
    with pytest.raises(ChildProcessError, match="--workers 1"):
        convert_masks(colors, tmp_path / "out", workers=2)
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["counts"]["left"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(source="colour"), "Did you mean 'color'"),
        (dict(target="color"), "`target`"),
        (dict(mode="fuzzy"), "`mode`"),
        (dict(half="left"), "`half`"),
        (dict(source="pairs", half="top"), "`half`"),
        (dict(source="pairs", label_suffix=".png", photos="."), "`photos`"),
        (dict(max_images=0), "`max_images`"),
        (dict(workers=-1), "`workers`"),
        (dict(unknown="skip"), "`unknown`"),
        (dict(suffix="_mask.jpg"), "`suffix`"),
        (dict(suffix="/mask.png"), "`suffix`"),
        (dict(label_suffix="_nothing.png"), "--label-suffix"),
        (dict(photos="nowhere"), "nowhere"),
        (dict(taxonomy="cityscapes20"), "cityscapes19"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_before_anything_is_written(colors, tmp_path, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        convert_masks(colors, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_empty_or_missing_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(FileNotFoundError, match=name):
            convert_masks(tmp_path / name, tmp_path / "out")


def test_29_classes_are_29_numbers(colors, tmp_path):
    convert_masks(colors, tmp_path / "out", taxonomy="cityscapes29", workers=0)
    found = set(read(tmp_path / "out" / "val/bonn/c_000000_mask.png").flat)
    assert found == {*range(CITYSCAPES_29.num_classes), IGNORE_INDEX} - {CITYSCAPES_29.classes.index("polegroup")}


def test_pairs_are_decoded_robustly_by_default(tmp_path):
    sharp = np.full((64, 128, 3), CITYSCAPES_19.palette[0], np.uint8)
    sharp[20:40, 80:110] = CITYSCAPES_19.palette[13]
    write(tmp_path / "in" / "1.jpg", sharp, quality=90)
    report = convert_masks(tmp_path / "in", tmp_path / "out", source="pairs", workers=0)
    assert report.settings["mode"] == "robust" and report.settings["effort"] == "best"
    assert report.pixels["resolved"] > report.pixels["uncertain"] and report.pixels["unknown"] == 0
    found = read(tmp_path / "out" / "1_mask.png")
    assert set(np.unique(found)) == {0, 13} and (found[20:40, 16:46] == 13).mean() > 0.98
    assert (found == 13).sum() < 1.05 * 20 * 30
