import random
import shutil

import numpy as np
import pytest
import torch
from mmseg.registry import DATASETS
from PIL import Image

from cityseg_ext.labels import CITYSCAPES_19

PIPELINE = [dict(type="LoadStreetImage"), dict(type="LoadColorMaskAnnotations"), dict(type="PackSegInputs")]


def build(root, split="train", **options):
    kind, prefix = "CityscapesPairsDataset", dict(img_path=split)
    return DATASETS.build(
        dict(type=kind, data_root=str(root), data_prefix=prefix, pipeline=PIPELINE, img_suffix=".png") | options
    )


def stems(dataset):
    paths = [dataset.get_data_info(index)["img_path"] for index in range(len(dataset))]
    return [path.split("/train/")[1].rpartition(".")[0] for path in paths]


@pytest.fixture
def pairs(tiny_pairs, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_pairs, tmp_path / "päirs, with spaces")


@pytest.fixture
def names(tmp_path):
    """Empty files of given names below ``train``."""

    def make(*wanted):
        for name in wanted:
            path = tmp_path / "train" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def test_samples_are_the_two_halves(tiny_pairs):
    dataset = build(tiny_pairs)
    assert len(dataset) == 4 and dataset.metainfo["classes"] == list(CITYSCAPES_19.classes)
    info = dataset.get_data_info(2)
    assert info["img_path"] == info["seg_map_path"] == str(tiny_pairs / "train" / "3.png")
    assert (info["photo_half"], info["label_half"], info["label_source"]) == ("left", "right", "color")
    assert info["reduce_zero_label"] is False and info["label_map"] is None and info["seg_fields"] == []
    pixels = np.asarray(Image.open(info["img_path"]))
    sample = dataset[2]
    assert (sample["inputs"].numpy()[::-1].transpose(1, 2, 0) == pixels[:, :40]).all()
    indices = sample["data_samples"].gt_sem_seg.data[0]
    for y, x in ((0, 0), (20, 5), (39, 39), (39, 0), (15, 30)):
        assert indices[y, x] == CITYSCAPES_19.color_to_index[tuple(pixels[y, 40 + x].tolist())]


def test_the_photograph_may_be_on_the_right(tiny_pairs, pairs):
    for path in (pairs / "train").iterdir():
        pixels = np.asarray(Image.open(path))
        Image.fromarray(np.concatenate([pixels[:, 40:], pixels[:, :40]], axis=1)).save(path)
    swapped = build(pairs, photo_side="right")
    assert swapped.get_data_info(0)["label_half"] == "left"
    for ours, plain in zip(swapped, build(tiny_pairs), strict=True):
        assert torch.equal(ours["inputs"], plain["inputs"])
        assert torch.equal(*(sample["data_samples"].gt_sem_seg.data for sample in (ours, plain)))
    with pytest.raises(ValueError, match="1.png' to be a mask in the colours of cityscapes19"):
        build(pairs)[0]


def test_jpeg_masks_can_be_read_with_mixed_colours_void(tmp_path):
    from cityseg_ext.apis import write_synthetic_pairs

    root = write_synthetic_pairs(tmp_path / "pairs", 1, 1, size=64)
    pipeline = [PIPELINE[0], dict(type="LoadColorMaskAnnotations", unknown="ignore"), PIPELINE[2]]
    labels = build(root, img_suffix=(".jpg",), pipeline=pipeline)[0]["data_samples"].gt_sem_seg.data
    assert labels.shape == (1, 64, 64) and (labels != 255).any()


def test_natural_order_at_any_depth(names):
    expected = ["01", "1", "2", "2b", "10", "a2/9", "a2/10", "a10/1"]
    shuffled = random.Random(0).sample(expected, len(expected))
    root = names(*(f"{name}.jpg" for name in shuffled))
    assert stems(build(root, img_suffix=(".jpg", ".jpeg"))) == expected
    assert stems(build(root, img_suffix=".jpg", max_images=3)) == ["01", "1", "2"]


def test_by_default_only_jpegs_of_any_spelling_are_pairs(names):
    root = names("1.jpg", "1_truth.png", "2.JPG", "3.jpeg", "4.JPEG", "5.png", ".hidden.jpg", "notes.txt")
    dataset = DATASETS.build(
        dict(type="CityscapesPairsDataset", data_root=str(root), data_prefix=dict(img_path="train"))
    )
    assert stems(dataset) == ["1", "2", "3", "4"]
    assert stems(build(root, img_suffix=".png")) == ["1_truth", "5"]


def test_pairs_in_the_root_itself(tiny_pairs):
    kind = dict(type="CityscapesPairsDataset", img_suffix=".png", data_prefix={})
    assert len(DATASETS.build(kind | dict(data_root=str(tiny_pairs / "val")))) == 2
    assert len(DATASETS.build(kind | dict(data_root=str(tiny_pairs)))) == 6


def test_missing_and_empty_folders(tmp_path, names):
    with pytest.raises(FileNotFoundError, match="`data_root` to be a folder with pairs in 'train'.*no such folder"):
        build(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"in 'val', but got .*it has train.*--data-root"):
        build(names("1.png"), "val")
    with pytest.raises(FileNotFoundError, match=r"'\*.jpg' \(pairs\) in .*found 1 other files: 1.png. Set `img_suf"):
        build(tmp_path, img_suffix=".jpg")


def test_two_files_of_one_name_are_refused(names):
    with pytest.raises(ValueError, match="one file for '1', but got .*1.jp.*1.jp"):
        build(names("1.jpg", "1.jpeg"), img_suffix=(".jpg", ".jpeg"))


def test_link_loops_end(pairs):
    (pairs / "train" / "loop").symlink_to(pairs / "train", target_is_directory=True)
    assert len(build(pairs)) == 4


def test_damaged_pairs_name_their_file(pairs):
    path = pairs / "train" / "1.png"
    Image.fromarray(np.zeros((40, 81, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match="1.png' to be a pair of equal halves.*but got width 81"):
        build(pairs)[0]
    Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="1.png' to be a readable image"):
        build(pairs)[0]


def test_options_are_checked(tiny_pairs):
    for option, value in (("photo_side", "top"), ("max_images", 0), ("taxonomy", "x")):
        with pytest.raises(ValueError, match=f"`{option}`"):
            build(tiny_pairs, **{option: value})
    with pytest.raises(TypeError, match="reduce_zero_label"):
        build(tiny_pairs, reduce_zero_label=True)


def test_29_classes(tiny_pairs):
    dataset = build(tiny_pairs, taxonomy="cityscapes29")
    assert len(dataset.metainfo["classes"]) == 29
    small = build(tiny_pairs)[1]["data_samples"].gt_sem_seg.data
    assert torch.equal(small == 0, dataset[1]["data_samples"].gt_sem_seg.data == 2)  # road


def test_a_stock_loader_takes_the_photographs_half_too(tiny_pairs):
    stock = [dict(type="LoadImageFromFile"), *PIPELINE[1:]]
    ours, theirs = (build(tiny_pairs, pipeline=pipeline)[0] for pipeline in (PIPELINE, stock))
    assert (ours["inputs"] == theirs["inputs"]).all()
