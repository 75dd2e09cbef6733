import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image

from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_29, LABELS
from cityseg_ext.transforms import LoadColorMaskAnnotations, LoadStreetImage

IDS = np.array([[label.id for label in LABELS if label.id >= 0]], np.uint8).repeat(3, axis=0)
COLORS = np.array([[label.color for label in LABELS if label.id >= 0]], np.uint8).repeat(3, axis=0)
TRAIN_IDS = np.array([[label.train_id for label in LABELS if label.id >= 0]], np.uint8).repeat(3, axis=0)


def save(folder, pixels, name="mask.png", mode=None, **options):
    path = folder / name
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return str(path)


def load(path, source="color", taxonomy="cityscapes19", **options):
    transform = TRANSFORMS.build(dict(type="LoadColorMaskAnnotations", source=source, taxonomy=taxonomy, **options))
    return transform(dict(seg_map_path=path, seg_fields=[]))


def test_keys_and_types_are_mmsegs(tmp_path):
    results = load(save(tmp_path, COLORS))
    assert results["seg_fields"] == ["gt_seg_map"]
    assert results["gt_seg_map"].dtype == np.uint8 and results["gt_seg_map"].shape == COLORS.shape[:2]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_masks(tmp_path, mode):
    image = Image.fromarray(COLORS)
    if mode == "P":
        image = image.quantize(64, dither=Image.Dither.NONE)
        assert (np.asarray(image.convert("RGB")) == COLORS).all()
    else:
        image = image.convert(mode)
    image.save(tmp_path / "mask.png")
    expected = TRAIN_IDS.copy()
    expected[IDS == 18] = CITYSCAPES_19.classes.index("pole")  # polegroup has the colour of pole
    np.testing.assert_array_equal(load(str(tmp_path / "mask.png"))["gt_seg_map"], expected)


@pytest.mark.parametrize("kind", ["L", "P", "I;16", "RGB"])
def test_ids_in_every_container(tmp_path, kind):
    if kind == "P":
        image = Image.fromarray(IDS).convert("P")
        image.putpalette(list(range(256)) * 3)
    elif kind == "I;16":
        image = Image.fromarray(IDS.astype(np.uint16))
    else:
        image = Image.fromarray(IDS if kind == "L" else np.dstack([IDS] * 3))
    assert image.mode == kind
    image.save(tmp_path / "ids.png")
    path = str(tmp_path / "ids.png")
    np.testing.assert_array_equal(load(path, "label_ids")["gt_seg_map"], TRAIN_IDS)
    as_29 = load(path, "label_ids", "cityscapes29")["gt_seg_map"]
    np.testing.assert_array_equal(as_29, np.where((IDS >= 5) & (IDS <= 33), IDS - 5, 255))


def test_train_ids_and_255(tmp_path):
    np.testing.assert_array_equal(load(save(tmp_path, TRAIN_IDS), "train_ids")["gt_seg_map"], TRAIN_IDS)


def test_the_data_set_says_what_the_file_holds(tmp_path):
    results = dict(
        seg_map_path=save(tmp_path, IDS), seg_fields=[], label_source="label_ids", taxonomy=CITYSCAPES_29.name
    )
    assert LoadColorMaskAnnotations()(results)["gt_seg_map"].max() == 255
    assert results["gt_seg_map"][0, 33] == 28


def test_a_sample_without_label_passes():
    assert LoadColorMaskAnnotations()({"img": 1}) == {"img": 1}


def test_unknown_colours_are_an_error_that_names_file_colour_and_count(tmp_path):
    pixels = COLORS.copy()
    pixels[0, :2] = (1, 2, 3)
    with pytest.raises(ValueError, match=r"mask.png.*2 of 102 pixels with 1 other colours.*\(1, 2, 3\): 2 pixels"):
        load(save(tmp_path, pixels))


def test_unknown_colours_can_be_void_with_a_warning(tmp_path, caplog):
    pixels = COLORS.copy()
    pixels[0, :2] = (1, 2, 3)
    transform = LoadColorMaskAnnotations(source="color", taxonomy="cityscapes19", unknown="ignore")
    path = save(tmp_path, pixels)
    warnings = []
    from unittest import mock

    with mock.patch("cityseg_ext.transforms.color_mask.print_log", lambda text, **_: warnings.append(text)):
        for _ in range(2):
            results = transform(dict(seg_map_path=path, seg_fields=[]))
    assert (results["gt_seg_map"][0, :2] == 255).all()
    assert len(warnings) == 1 and "(1, 2, 3): 2 pixels" in warnings[0] and path in warnings[0]


@pytest.mark.parametrize(
    ("pixels", "source", "message"),
    [
        (np.full((2, 2), 99, np.uint8), "label_ids", "label ids 0 to 33.*99: 4 pixels"),
        (np.full((2, 2), 33, np.uint8), "train_ids", "class indices 0 to 18.*33: 4 pixels.*source='label_ids'"),
        (np.full((2, 2), 26001, np.uint16), "label_ids", "26001: 4 pixels.*instance ids.*_labelIds.png"),
        (np.zeros((2, 2), np.uint8), "color", "colour mask.*mode L.*source='label_ids'"),
        (COLORS, "label_ids", "map of ids.*differing channels.*source='color'"),
    ],
)
def test_wrong_kinds_of_label_say_what_is_wrong(tmp_path, pixels, source, message):
    with pytest.raises(ValueError, match=message):
        load(save(tmp_path, pixels), source)


def test_a_mask_of_another_size_is_refused(tmp_path):
    transform = LoadColorMaskAnnotations(source="color")
    with pytest.raises(ValueError, match=r"mask.png' to be of its photograph's size 10x3 .*but got 34x3"):
        transform(dict(seg_map_path=save(tmp_path, COLORS), seg_fields=[], ori_shape=(3, 10)))


def broken(folder, kind, suffix):
    path = folder / f"broken{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"not an image"}[kind])
    return str(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_broken_files_are_named(tmp_path, kind, suffix):
    path = broken(tmp_path, kind, suffix)
    with pytest.raises(ValueError, match=rf"'{path}' to be a readable image.*Restore or remove it"):
        load(path)
    with pytest.raises(ValueError, match=rf"'{path}' to be a readable image.*Restore or remove it"):
        LoadStreetImage()(dict(img_path=path))


def test_missing_files_are_named():
    with pytest.raises(FileNotFoundError, match="'nowhere.png' to be an existing label"):
        load("nowhere.png")
    with pytest.raises(FileNotFoundError, match="'nowhere.png' to be an existing photograph"):
        LoadStreetImage()(dict(img_path="nowhere.png"))


def test_options_are_checked_at_once():
    for option, value in (("source", "colour"), ("unknown", "warn"), ("mode", "fuzzy"), ("taxonomy", "ade20k")):
        with pytest.raises(ValueError, match=f"`{option}`.*{value}"):
            LoadColorMaskAnnotations(**{option: value})


def test_real_masks_of_all_three_kinds_agree(camvid):
    for color in sorted(camvid.glob("gtFine/val/*/*_color.png"))[::20]:
        stem = str(color).removesuffix("_color.png")
        maps = [
            load(stem + suffix, source)["gt_seg_map"]
            for source, suffix in (
                ("color", "_color.png"),
                ("label_ids", "_labelIds.png"),
                ("train_ids", "_labelTrainIds.png"),
            )
        ]
        np.testing.assert_array_equal(maps[0], maps[1])
        np.testing.assert_array_equal(maps[0], maps[2])
