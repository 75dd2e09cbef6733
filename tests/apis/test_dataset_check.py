import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import ROOT
from mmengine.config import Config
from PIL import Image

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.dataset_check import check_dataset
from cityseg_ext.apis.dataset_report import class_table, problem_list, size_lines
from cityseg_ext.functional.class_statistics import WEIGHTINGS
from cityseg_ext.labels import CITYSCAPES_19
from cityseg_ext.statistics_file import load_statistics

TRAIN_PIPELINE = [dict(type="LoadStreetImage"), dict(type="LoadColorMaskAnnotations"), dict(type="PackSegInputs")]
PALETTE = np.array([*CITYSCAPES_19.palette, (0, 0, 0)], np.uint8)
VOID = len(PALETTE) - 1


def save(root, split, name, seed, classes=(0, 1), size=(8, 16), orientation=None, label_size=None):
    """A photograph of noise and a colour mask with columns of the given classes; return both paths."""
    rng = np.random.default_rng(seed)
    photo = root / "leftImg8bit" / split / "ulm, süd" / f"{name}_leftImg8bit.png"
    label = root / "gtFine" / split / "ulm, süd" / f"{name}_gtFine_color.png"
    for path in (photo, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    image.save(photo, exif=exif)
    height, width = label_size or size
    mask = np.asarray(classes)[np.arange(width) * len(classes) // width]
    Image.fromarray(np.broadcast_to(PALETTE[mask], (height, width, 3)).copy()).save(label)
    return photo, label


def config(root, work_dir, train_pipeline=TRAIN_PIPELINE, **options):
    def loader(split, pipeline):
        prefix = dict(img_path=f"leftImg8bit/{split}", seg_map_path=f"gtFine/{split}")
        dataset = dict(type="CityscapesColorMaskDataset", data_root=str(root), data_prefix=prefix, pipeline=pipeline)
        return dict(dataset=dataset | options)

    val = loader("val", [dict(type="LoadStreetImage"), dict(type="LoadColorMaskAnnotations")])
    return Config(
        dict(
            train_dataloader=loader("train", train_pipeline),
            val_dataloader=val,
            test_dataloader=val,
            work_dir=str(work_dir),
        )
    )


@pytest.fixture
def city(tmp_path):
    root = tmp_path / "a city, größer"
    for i in range(3):
        save(root, "train", f"t{i}", seed=i, classes=(0, 1, 2))
    save(root, "val", "v0", seed=10, classes=(0, 1, VOID, VOID))
    return root


def check(cfg, **options):
    return check_dataset(cfg, num_workers=0, **options)


def found(result):
    return Counter((p.severity, p.kind, p.split) for p in result.statistics.problems)


def messages(result, kind):
    return [problem.message for problem in result.statistics.problems if problem.kind == kind]


def test_good_data_and_its_counts(city, tmp_path):
    result = check(config(city, tmp_path / "w"))
    assert set(found(result)) == {("warning", "absent classes", "train"), ("warning", "absent classes", "val")}
    train, val = (result.statistics.splits[name] for name in ("train", "val"))
    assert "test" not in result.statistics.splits  # it is the validation set
    expected = np.bincount(np.arange(16) * 3 // 16, minlength=19) * 8
    assert (train.counts == expected).all() and train.counts.shape == (3, 19)
    assert val.counts[0, :2].tolist() == [32, 32] and val.void.tolist() == [64]
    assert train.images[0] == "leftImg8bit/train/ulm, süd/t0_leftImg8bit.png"
    assert val.sizes.tolist() == [[8, 16]]
    for name, weigh in WEIGHTINGS.items():
        assert json.loads(result.weights[name].read_text()) == weigh(train.counts).tolist()
    assert Image.open(result.histogram).size > (400, 300)
    assert not list(result.path.parent.glob(".*part"))


def test_one_of_each_problem_in_one_run(city, tmp_path):
    lone_photo, label = save(city, "train", "lone photo", 20)
    label.unlink()
    photo, lone_label = save(city, "train", "lone label", 21)
    photo.unlink()
    cut_photo, _ = save(city, "train", "cut photo", 22)
    cut_photo.write_bytes(cut_photo.read_bytes()[:-100])
    _, cut_label = save(city, "train", "cut label", 23)
    cut_label.write_bytes(cut_label.read_bytes()[:60])
    empty, _ = save(city, "train", "empty", 24)
    empty.write_bytes(b"")
    _, small = save(city, "train", "small", 25, label_size=(4, 8))
    for seed, name in enumerate(("odd 1", "odd 2"), start=100):
        _, odd = save(city, "val", name, seed=seed)
        pixels = np.asarray(Image.open(odd)).copy()
        pixels[:2, :3] = (1, 2, 3)
        Image.fromarray(pixels).save(odd)
    turned, _ = save(city, "train", "turned", 26, orientation=6)
    upside_down, _ = save(city, "train", "upside down", 27, orientation=3)
    save(city, "train", "turned with its label", 28, orientation=8, size=(8, 16), label_size=(16, 8))
    save(city, "val", "leak", seed=0)  # the pixels of train/t0
    save(city, "train", "again", seed=1)  # the pixels of train/t1
    _, void = save(city, "val", "void", 29, classes=(VOID,))
    save(city, "val", "rider", 30, classes=(12,))

    result = check(config(city, tmp_path / "w"))
    assert found(result) == {
        ("error", "unpaired", "train"): 2,
        ("error", "unreadable", "train"): 3,
        ("error", "size", "train"): 1,
        ("error", "unknown", "val"): 3,  # two files and their sum
        ("error", "exif", "train"): 2,
        ("error", "two splits", "val"): 1,
        ("warning", "duplicate", "train"): 1,
        ("warning", "void", "val"): 1,
        ("warning", "absent classes", "train"): 1,
        ("warning", "absent classes", "val"): 1,
        ("warning", "untrained classes", "val"): 1,
    }
    files = {problem.file for problem in result.statistics.problems}
    named = (lone_photo, lone_label, cut_photo, cut_label, empty, small, odd, turned, upside_down, void)
    assert {str(path) for path in named} <= files
    assert result.statistics.errors
    (total,) = (p.message for p in result.statistics.problems if p.kind == "unknown" and p.file is None)
    assert "2 labels of val" in total and "(1, 2, 3) (12 pixels, 2 files)" in total
    assert "16x8 (width x height), but got 8x4" in messages(result, "size")[0]
    assert {"6," in message or "3," in message for message in messages(result, "exif")} == {True}
    (leak,) = messages(result, "two splits")
    assert "leak_leftImg8bit.png" in leak and "t0_leftImg8bit.png" in leak
    assert "rider (1 images)" in messages(result, "untrained classes")[0]
    text = problem_list(result.statistics.problems)
    assert "error: unpaired, train, 2 files" in text and "lone photo" in text
    assert load_statistics(result.path).problems == result.statistics.problems


def test_the_list_is_cut_but_says_so(city, tmp_path):
    for i in range(7):
        save(city, "val", f"n{i}", 50 + i)[1].unlink()
    result = check(config(city, tmp_path / "w"))
    text = problem_list(result.statistics.problems, limit=2)
    assert "unpaired, val, 7 files" in text and "... and 5 more" in text and text.count("without label") == 2
    assert len(messages(result, "unpaired")) == 7


def test_what_the_config_tolerates_is_a_warning(city, tmp_path):
    save(city, "train", "lone", 20)[1].unlink()
    _, odd = save(city, "train", "odd", 21)
    Image.fromarray(np.full((8, 16, 3), (1, 2, 3), np.uint8)).save(odd)
    save(city, "train", "upside down", 22, orientation=3)
    pipeline = [
        dict(type="LoadStreetImage", color_type="color_ignore_orientation"),
        dict(type="RandomChoice", transforms=[[dict(type="LoadColorMaskAnnotations", unknown="ignore")]]),
    ]
    result = check(config(city, tmp_path / "w", train_pipeline=pipeline, unpaired="skip"))
    assert not result.statistics.errors
    kinds = {problem.kind for problem in result.statistics.problems}
    assert {"unpaired", "unknown"} <= kinds and "exif" not in kinds


def test_a_missing_folder_is_one_problem_of_several(city, tmp_path):
    shutil.rmtree(city / "gtFine" / "val")
    save(city, "train", "lone", 20)[1].unlink()
    result = check(config(city, tmp_path / "w"))
    assert found(result)["error", "missing", "val"] == 1 and found(result)["error", "unpaired", "train"] == 1
    assert list(result.statistics.splits) == ["train"]
    assert "gtFine/val" in messages(result, "missing")[0]


def test_nothing_to_check_is_a_mistake_of_the_caller(city, tmp_path):
    with pytest.raises(FileNotFoundError, match="`data_root`.*nowhere"):
        check(config(city / "nowhere", tmp_path / "w"))
    with pytest.raises(ValueError, match="dataloader"):
        check(Config(dict(work_dir=str(tmp_path))))
    cfg = config(city, tmp_path / "w")
    cfg.val_dataloader.dataset.taxonomy = "cityscapes29"
    with pytest.raises(ValueError, match="`taxonomy` to be the same.*19 in train, 29 in val"):
        check(cfg)


def test_unchanged_data_is_not_read_again(city, tmp_path, monkeypatch):
    cfg = config(city, tmp_path / "w")
    first = check(cfg)
    before = {path: path.stat().st_mtime_ns for path in first.path.parent.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("cityseg_ext.apis.dataset_scan._inspect", None)  # whoever reads a file fails
        second = check(cfg)
    assert second.cached and not first.cached
    assert {path: path.stat().st_mtime_ns for path in first.path.parent.iterdir()} == before
    assert class_table(second.statistics) == class_table(first.statistics)
    assert not check(cfg, use_cache=False).cached
    first.histogram.unlink()
    assert check(cfg).cached and first.histogram.is_file()


def change_label(city, cfg):
    label = next((city / "gtFine" / "train").rglob("*.png"))
    state = label.stat()
    Image.fromarray(np.broadcast_to(PALETTE[3], (8, 16, 3)).copy()).save(label)
    os.utime(label, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


def add_unpaired(city, cfg):
    save(city, "train", "lone", 20)[1].unlink()


def remove_pair(city, cfg):
    for path in (*city.rglob("t0_*"),):
        path.unlink()


def change_reading(city, cfg):
    cfg.train_dataloader.dataset.pipeline[1]["unknown"] = "ignore"


def damage_cache(city, cfg):
    path = next((city.parent / "w").rglob("stats.json"))
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"version": 0}))


@pytest.mark.parametrize("change", [change_label, add_unpaired, remove_pair, change_reading, damage_cache])
def test_every_change_is_seen(city, tmp_path, change):
    cfg = config(city, tmp_path / "w")
    before = check(cfg).statistics
    change(city, cfg)
    after = check(cfg)
    assert not after.cached
    assert (after.statistics.fingerprint == before.fingerprint) == (change is damage_cache)
    if change is change_label:
        assert after.statistics.splits["train"].pixels[3] == 128


def test_foreign_files_are_not_replaced(city, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "class_weights_enet.json").write_text("[1]")
    with pytest.raises(ValueError, match="mine.*class_weights_enet.json.*--out"):
        check(config(city, tmp_path / "w"), out_dir=folder)
    (folder / "stats.json").write_text('{"my": "own"}')
    with pytest.raises(ValueError, match="mine"):
        check(config(city, tmp_path / "w"), out_dir=folder, use_cache=False)
    assert (folder / "stats.json").read_text() == '{"my": "own"}'


def test_processes_find_the_same(city, tmp_path):
    save(city, "train", "small", 25, label_size=(4, 8))
    calls = []
    cfg = config(city, tmp_path / "w")
    together = check_dataset(cfg, num_workers=2, progress=lambda done, total: calls.append((done, total)))
    alone = check(cfg, use_cache=False)
    assert calls == [(i, 5) for i in range(1, 6)]
    assert together.statistics.problems == alone.statistics.problems
    assert class_table(together.statistics) == class_table(alone.statistics)
    with pytest.raises(ValueError, match="`num_workers`"):
        check_dataset(cfg, num_workers=-1, use_cache=False)


def test_val_and_test_may_share_images(city, tmp_path):
    save(city, "val", "v1", seed=11)
    cfg = config(city, tmp_path / "w")
    cfg.test_dataloader.dataset.max_images = 1
    result = check(cfg)
    assert list(result.statistics.splits) == ["train", "val", "test"] and not result.statistics.errors
    assert found(result)["warning", "two splits", "test"] == 1


def test_label_ids_of_the_synthetic_city(tiny_city, tmp_path):
    by_color = check(config(tiny_city, tmp_path / "color"))
    by_id = check(config(tiny_city, tmp_path / "ids", source="label_ids"))
    for split in ("train", "val"):
        one, two = (result.statistics.splits[split] for result in (by_color, by_id))
        assert (one.counts == two.counts).all() and (one.void == two.void).all() and one.pixels.sum() > 0
    assert size_lines(by_id.statistics) == "train: 4 photographs, 4 of 128x64\nval: 3 photographs, 3 of 128x64"


def test_photographs_without_labels_and_wrapped_data_sets(city, tmp_path):
    cfg = config(city, tmp_path / "w")
    leaf = cfg.train_dataloader.dataset
    twice = dict(type="ConcatDataset", datasets=[leaf, leaf])  # on purpose, and so no duplicates
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=3, dataset=twice)
    cfg.val_dataloader = None
    cfg.test_dataloader.dataset.data_prefix = dict(img_path="leftImg8bit/val")
    result = check(cfg)
    assert len(result.statistics.splits["train"].images) == 6
    assert not result.statistics.splits["test"].counts.any()
    assert set(found(result)) == {("warning", "absent classes", "train")}


def test_halves_of_one_file(tmp_path, monkeypatch):
    """Any data set whose samples have these keys can be checked."""
    from mmseg.datasets import BaseSegDataset
    from mmseg.registry import DATASETS

    class Pairs(BaseSegDataset):
        METAINFO = CITYSCAPES_19.metainfo

        def load_data_list(self):
            files = sorted((tmp_path / "pairs").iterdir())
            halves = dict(photo_half="left", label_half="right", label_source="color")
            return [dict(img_path=str(path), seg_map_path=str(path)) | halves for path in files]

    (tmp_path / "pairs").mkdir()
    rng = np.random.default_rng(0)
    for name, width in (("1.png", 6), ("odd.png", 7)):
        pixels = rng.integers(0, 256, (4, width, 3), np.uint8)
        pixels[:, 3:] = PALETTE[10]
        Image.fromarray(pixels).save(tmp_path / "pairs" / name)
    loader = dict(dataset=dict(type=Pairs, data_root=str(tmp_path), pipeline=TRAIN_PIPELINE))
    assert Pairs.__name__ not in DATASETS.module_dict
    result = check(Config(dict(train_dataloader=loader, work_dir=str(tmp_path / "w"))))
    assert result.statistics.splits["train"].counts[:, 10].tolist() == [12, 0]
    assert result.statistics.splits["train"].sizes[0].tolist() == [4, 3]
    (message,) = messages(result, "unreadable")
    assert "odd.png" in message and "even width" in message


def test_a_name_that_is_no_utf8_can_be_printed(city, tmp_path):
    photo, label = save(city, "train", "x", 40)
    os.rename(os.fsencode(photo), os.fsencode(photo.parent) + b"/\xff_leftImg8bit.png")
    label.unlink()
    result = check(config(city, tmp_path / "w"))
    assert "\\udcff_leftImg8bit.png" in problem_list(result.statistics.problems)
    assert load_statistics(result.path).problems == result.statistics.problems


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\xff"])
def test_damaged_exif_counts_as_none(city, tmp_path, exif):
    photo, _ = save(city, "train", "x", 40)
    Image.open(photo).save(photo, exif=exif)
    assert not check(config(city, tmp_path / "w")).statistics.errors


def test_the_tool(tiny_city, tmp_path):
    from test_tools import error_of, run

    city = shutil.copytree(tiny_city, tmp_path / "city")
    options = ("configs/deeplabv3_r18_focaldice.py", "--data-root", city, "--work-dir", tmp_path / "work dir")
    process = run("check_dataset.py", *options)
    assert process.returncode == 0, process.stderr
    last = process.stdout.strip().splitlines()[-1]
    assert last.startswith("0 errors, ") and str(tmp_path / "work dir" / "dataset" / "stats.json") in last
    assert "median_freq" in process.stdout and "train: 4 photographs" in process.stdout
    next((city / "gtFine/val").rglob("*_color.png")).unlink()
    again = check(load_config(str(ROOT / options[0]), data_root=str(city), work_dir=str(options[-1])))
    assert not again.cached
    process = run("check_dataset.py", *options)
    assert process.returncode == 1 and "error: unpaired, val, 1 file\n" in process.stdout
    assert "No file has changed" in process.stdout
    assert "nowhere" in error_of(run("check_dataset.py", options[0], "--data-root", tmp_path / "nowhere"))
