import shutil

import numpy as np
import pytest
from mmseg.registry import DATASETS

from cityseg_ext.labels import CITYSCAPES_19

PIPELINE = [dict(type="LoadStreetImage"), dict(type="LoadColorMaskAnnotations"), dict(type="PackSegInputs")]


def build(root, split="train", **options):
    return DATASETS.build(
        dict(
            type="CityscapesColorMaskDataset",
            data_root=str(root),
            data_prefix=dict(img_path=f"leftImg8bit/{split}", seg_map_path=f"gtFine/{split}"),
            pipeline=PIPELINE,
            **options,
        )
    )


@pytest.fixture
def city(tiny_city, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_city, tmp_path / "a city, with spaces")


def test_pairs_and_metainfo(tiny_city):
    dataset = build(tiny_city)
    assert len(dataset) == 4
    assert dataset.metainfo["classes"] == list(CITYSCAPES_19.classes)
    assert dataset.metainfo["palette"][0] == [128, 64, 128]
    for index in range(4):
        info = dataset.get_data_info(index)
        assert info["img_path"].replace("leftImg8bit", "") == info["seg_map_path"].replace("gtFine_color", "").replace(
            "gtFine", ""
        )
    sample = dataset[0]
    assert sample["inputs"].shape == (3, 64, 128)
    assert sample["data_samples"].gt_sem_seg.data.shape == (1, 64, 128)


def test_colour_and_ids_give_the_same_labels(tiny_city):
    by_color, by_id = build(tiny_city), build(tiny_city, source="label_ids")
    for first, second in zip(by_color, by_id, strict=True):
        a, b = (sample["data_samples"].gt_sem_seg.data for sample in (first, second))
        assert (a == b).all()


def test_29_classes(tiny_city):
    dataset = build(tiny_city, source="label_ids", taxonomy="cityscapes29")
    assert len(dataset.metainfo["classes"]) == 29
    assert dataset[0]["data_samples"].gt_sem_seg.data.unique().max() == 255


def test_train_ids_know_19_classes_only(tiny_city):
    with pytest.raises(ValueError, match="`source` to be 'label_ids' or 'color' for cityscapes29, but got 'train_ids'"):
        build(tiny_city, source="train_ids", taxonomy="cityscapes29")


def test_max_images_and_cities(city):
    assert len(build(city, max_images=3)) == 3
    for folder in ("leftImg8bit", "gtFine"):
        source = city / folder / "train" / "synth"
        other = city / folder / "train" / "ulm"
        other.mkdir()
        first = sorted(source.iterdir())[: 1 if folder == "leftImg8bit" else 2]
        for path in first:
            path.rename(other / path.name)
    assert len(build(city)) == 4
    dataset = build(city, cities=["ulm"])
    assert [info["img_path"].split("/")[-2] for info in map(dataset.get_data_info, range(len(dataset)))] == ["ulm"]
    with pytest.raises(ValueError, match=r"`cities` to be among \['synth', 'ulm'\].*'ulmm'. Did you mean 'ulm'"):
        build(city, cities=["ulmm"])


def test_jpeg_photos_are_found(camvid):
    assert len(build(camvid, "val")) == 101


def test_other_suffixes(city):
    for path in (city / "leftImg8bit/train/synth").iterdir():
        path.rename(path.with_name(path.name.replace("_leftImg8bit.png", ".PNG")))
    assert len(build(city, img_suffix=".png")) == 4  # upper and lower case are the same
    with pytest.raises(FileNotFoundError, match=r"_leftImg8bit.png.*found 4 other files.*\.PNG.*`img_suffix`"):
        build(city)


def test_unpaired_files_are_listed_or_skipped(city):
    labels = sorted((city / "gtFine/train/synth").glob("*_color.png"))
    photos = sorted((city / "leftImg8bit/train/synth").iterdir())
    labels[0].unlink()
    photos[1].unlink()
    with pytest.raises(ValueError) as error:
        build(city)
    message = str(error.value)
    assert "1 photographs have no label" in message and "1 labels have no photograph" in message
    assert photos[0].name.removesuffix("_leftImg8bit.png") in message and "unpaired='skip'" in message
    assert len(build(city, unpaired="skip")) == 2


def test_no_pair_at_all(city):
    for path in (city / "gtFine/train/synth").glob("*_color.png"):
        path.rename(path.with_name("x" + path.name))
    with pytest.raises(ValueError, match="none has a label"):
        build(city, unpaired="skip")


def test_missing_and_empty_roots(tmp_path):
    with pytest.raises(FileNotFoundError, match="`data_root` to be a folder with photographs in 'leftImg8bit/train'"):
        build(tmp_path / "nowhere")
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match="it has images.*--data-root"):
        build(tmp_path)
    (tmp_path / "leftImg8bit/train").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="found 0 other files: none"):
        build(tmp_path)


def test_link_loops_end(city):
    (city / "leftImg8bit/train/loop").symlink_to(city / "leftImg8bit/train", target_is_directory=True)
    assert len(build(city)) == 4


def test_two_files_for_one_photograph_are_refused(city):
    photo = sorted((city / "leftImg8bit/train/synth").iterdir())[0]
    shutil.copy(photo, photo.with_suffix(".jpg"))
    with pytest.raises(ValueError, match="one file for .* but got .*png.*jpg"):
        build(city)


def test_without_labels(tiny_city):
    dataset = DATASETS.build(
        dict(
            type="CityscapesColorMaskDataset",
            data_root=str(tiny_city),
            data_prefix=dict(img_path="leftImg8bit/val"),
            pipeline=PIPELINE,
            test_mode=True,
        )
    )
    assert len(dataset) == 3 and "gt_sem_seg" not in dataset[0]["data_samples"]


def test_photographs_may_lie_in_the_root_itself(tiny_city):
    where = dict(data_root=str(tiny_city / "leftImg8bit" / "val"), data_prefix={})
    dataset = DATASETS.build(dict(type="CityscapesColorMaskDataset", pipeline=PIPELINE, test_mode=True, **where))
    assert len(dataset) == 3


def test_options_are_checked(tiny_city):
    for option, value in (("source", "colour"), ("unpaired", "warn"), ("max_images", 0), ("taxonomy", "x")):
        with pytest.raises(ValueError, match=f"`{option}`"):
            build(tiny_city, **{option: value})


def test_labels_stay_uint8_until_packed(tiny_city):
    dataset = build(tiny_city)
    results = dataset.get_data_info(0)
    for transform in dataset.pipeline.transforms[:2]:
        results = transform(results)
    assert results["gt_seg_map"].dtype == np.uint8 and results["img"].shape[:2] == results["gt_seg_map"].shape


def test_a_list_of_pairs_in_place_of_names(city):
    photos = sorted((city / "leftImg8bit" / "train").rglob("*.png"))
    labels = sorted((city / "gtFine" / "train").rglob("*_gtFine_color.png"))
    (city / "any, name.png").write_bytes(photos[0].read_bytes())
    rows = [("any, name.png", labels[0]), *zip(photos[1:3], labels[1:3], strict=True)]
    lines = "".join(f'"{photo}","{label}"\n' for photo, label in rows)
    (city / "pairs.csv").write_text(f"photograph,label\n{lines}\n", encoding="utf-8-sig")
    listed, found = build(city, ann_file="pairs.csv"), build(city)
    assert len(listed) == 3
    for index in range(3):
        one, other = listed[index], found[index]
        assert (one["inputs"] == other["inputs"]).all()
        assert (one["data_samples"].gt_sem_seg.data == other["data_samples"].gt_sem_seg.data).all()
    assert len(build(city, ann_file="pairs.csv", max_images=2)) == 2


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (None, FileNotFoundError, "`ann_file` to be an existing CSV file"),
        ("photograph,label\n", ValueError, "lines 'photograph,label', but got '.*pairs.csv' without any"),
        ("a.png\n", ValueError, "1 columns in line 1"),
        ("pairs.csv,pairs.csv\n\npairs.csv,b.png\n", FileNotFoundError, "no file '.*b.png', which line 3 of"),
        (b"stra\xdfe.png,a.png\n", ValueError, "`ann_file` to be a CSV file in UTF-8, but got '.*pairs.csv': .*0xdf"),
        (b'"' + b"a" * 200_000, ValueError, "`ann_file` to be a CSV file in UTF-8, but got '.*pairs.csv': .*limit"),
    ],
    ids=range(6),
)
def test_lists_that_are_none(city, text, kind, message):
    if text is not None:
        (city / "pairs.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(kind, match=message):
        build(city, ann_file="pairs.csv")
