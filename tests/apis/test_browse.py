import random
import shutil

import cv2
import numpy as np
import pytest
import torch

from cityseg_ext.apis.browse import browse
from cityseg_ext.apis.config import load_config


@pytest.fixture
def config(tiny_city, tmp_path, monkeypatch):
    from conftest import ROOT

    monkeypatch.chdir(ROOT)

    def make(name="deeplabv3_r18_focaldice", root=tiny_city, image_size=(64, 128), **options):
        work_dir = str(tmp_path / "work")
        config = f"configs/{name}.py"
        return load_config(config, data_root=str(root), work_dir=work_dir, image_size=image_size, cfg_options=options)

    return make


def pictures(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_one_panel_an_image_and_a_sheet(config, tmp_path):
    calls = []
    result = browse(config(), num=3, progress=lambda done, total: calls.append((done, total)))
    assert result.folder == tmp_path / "work" / "browse" / "train" and result.panels == 3
    assert calls == [(1, 3), (2, 3), (3, 3)] and result.sheet == result.folder / "index.png"
    names = [f"{index:05d}_synth_000000_{index:06d}_leftImg8bit.png" for index in (0, 2, 3)]
    assert list(pictures(result.folder)) == [*names, "index.png"]


def test_the_pictures_are_those_of_the_pipeline(config, tiny_city):
    pipeline = [dict(type="LoadStreetImage"), dict(type="LoadColorMaskAnnotations"), dict(type="PackSegInputs")]
    cfg = config(**{"train_dataloader.dataset.pipeline": pipeline})
    panel = cv2.imread(str(sorted(browse(cfg).folder.glob("*.png"))[1]))
    photo = cv2.imread(str(tiny_city / "leftImg8bit/train/synth/synth_000000_000001_leftImg8bit.png"))
    mask = cv2.imread(str(tiny_city / "gtFine/train/synth/synth_000000_000001_gtFine_color.png"))
    photo, mask = (part.repeat(4, axis=0).repeat(4, axis=1) for part in (photo, mask))
    assert (panel[40:296, :512] == photo).all()
    shown = panel[40:296, 1036:1548]
    assert (shown == mask).all(axis=-1).mean() > 0.9  # void classes of other colours are black
    assert ((shown == mask).all(axis=-1) | (shown == 0).all(axis=-1)).all()


def test_the_same_seed_gives_the_same_pictures(config, tmp_path):
    def draw(name, **options):
        return pictures(browse(config(), out_dir=str(tmp_path / name), **options).folder)

    first = draw("a", num=4)
    assert draw("b", num=4) == first
    other = draw("c", num=4, seed=1)
    assert all(other[name] != first[name] for name in first)
    fewer = draw("d", num=2)  # an image is drawn alike, whatever else is drawn
    assert all(fewer[name] == first[name] for name in fewer if name != "index.png")


def test_repeated_draws_differ(config):
    found = pictures(browse(config(), num=1, repeat=3).folder)
    del found["index.png"]
    assert len(set(found.values())) == 3
    assert [name.removesuffix(".png")[-2:] for name in found] == ["_1", "_2", "_3"]


def test_the_callers_random_numbers_go_on(config):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    expected = draw()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    browse(config(), num=1)
    assert draw() == expected


def test_test_pipelines_leave_labels_at_their_size(config):
    result = browse(config(image_size=(32, 64)), split="val")
    assert result.panels == 3 and result.folder.name == "val"
    panel = cv2.imread(str(result.folder / "00000_synth_000000_000000_leftImg8bit.png"))
    assert panel.shape[1] == 3 * 512 + 2 * 6  # 32x64, eight times as large


def test_without_labels_all_is_void(config):
    prefix = dict(img_path="leftImg8bit/val", _delete_=True)
    result = browse(config(**{"test_dataloader.dataset.data_prefix": prefix}), split="test", num=1)
    panel = cv2.imread(str(sorted(result.folder.glob("0*.png"))[0]))
    assert (panel[40:296, -512:] == 0).all()


def test_pairs(config, tiny_pairs):
    cfg = config("unet_pairs_256", tiny_pairs, (32, 32), **{"train_dataloader.dataset.img_suffix": ".png"})
    assert list(pictures(browse(cfg).folder)) == [*(f"{index:05d}_{index + 1}.png" for index in range(4)), "index.png"]


def test_our_pictures_are_replaced_and_only_ours(config, tmp_path):
    folder = browse(config(), num=4).folder
    (folder / "mine.png").write_text("mine")
    browse(config(), num=1)
    assert list(pictures(folder)) == ["00000_synth_000000_000000_leftImg8bit.png", "index.png", "mine.png"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.png").write_text("mine")
    with pytest.raises(ValueError, match="other' to be an empty folder, or one that this function wrote"):
        browse(config(), out_dir=str(tmp_path / "other"))
    assert (tmp_path / "other" / "index.png").read_text() == "mine"


def test_a_damaged_file_is_named_and_earlier_pictures_stay(config, tiny_city, tmp_path):
    city = shutil.copytree(tiny_city, tmp_path / "city")
    before = pictures(browse(config(root=city)).folder)
    photo = city / "leftImg8bit/train/synth/synth_000000_000000_leftImg8bit.png"
    photo.write_bytes(photo.read_bytes()[:100])
    with pytest.raises(ValueError, match="synth_000000_000000_leftImg8bit.png"):
        browse(config(root=city))
    assert pictures(tmp_path / "work" / "browse" / "train") == before


def test_long_and_foreign_names(config, tiny_city, tmp_path):
    city = shutil.copytree(tiny_city, tmp_path / "city")
    stem = "straße " + "ü" * 110
    for path in (*city.rglob("*_000000_leftImg8bit.png"), *city.rglob("*_000000_gtFine_*.png")):
        path.rename(path.with_name(stem + path.name.partition("_000000")[2].partition("_000000")[2]))
    (name,) = (name for name in pictures(browse(config(root=city)).folder) if "stra" in name)
    assert name.startswith("00000_straße üüü") and len(name.encode()) <= 255


@pytest.mark.parametrize("wrong", [dict(split="training"), dict(num=0), dict(repeat=0), dict(seed=-1), dict(alpha=2.0)])
def test_arguments_are_checked(config, tmp_path, wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        browse(config(), **wrong)
    assert not (tmp_path / "work").exists()


def test_a_split_that_the_config_lacks(config):
    cfg = config()
    cfg.val_dataloader = None
    with pytest.raises(ValueError, match=r"`split` to be one that .*\['train', 'test'\].*but got 'val'"):
        browse(cfg, split="val")


def test_a_folder_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="`out_dir` to be a folder that can be written"):
        browse(config(), out_dir=str(tmp_path / "file" / "browse"))
