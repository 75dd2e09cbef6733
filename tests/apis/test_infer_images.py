import io

import cv2
import numpy as np
import pytest
from PIL import Image

from cityseg_ext.apis.infer_images import infer_images
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.functional.overlay import overlay
from cityseg_ext.transforms.image import read_photo


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return Predictor(*tiny_model)


@pytest.fixture
def photos(tmp_path):
    """Photographs of every kind that cameras and editors write; one is no image, one is cut short."""
    rng = np.random.default_rng(0)
    pixels = cv2.GaussianBlur(rng.integers(0, 256, (31, 41, 3), dtype=np.uint8), (9, 9), 2)
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    alpha = np.full((31, 41, 1), 100, np.uint8)
    upright = Image.Exif()
    upright[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(pixels).save(folder / "rgb.png")
    Image.fromarray(np.dstack([pixels, alpha])).save(folder / "rgba.png")
    Image.fromarray(pixels).convert("L").save(folder / "grey.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    Image.fromarray(pixels).save(folder / "turned.jpg", quality=95, exif=upright)
    cv2.imwrite(str(folder / "deep.png"), pixels[..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(pixels[:1, :1]).save(folder / "sub" / "one pixel, ü.png")
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG")
    (folder / "cut.jpg").write_bytes(data.getvalue()[:100])
    (folder / "none.png").write_bytes(b"not an image")
    return folder, pixels


def test_photographs_of_every_kind_are_read_alike(photos):
    folder, pixels = photos
    for name in ("rgb.png", "rgba.png", "deep.png"):
        assert (read_photo(str(folder / name)) == pixels).all()
    assert np.abs(read_photo(str(folder / "cmyk.jpg")).astype(int) - pixels).mean() < 3
    grey = read_photo(str(folder / "grey.png"))
    assert grey.shape == pixels.shape and (grey[..., 0] == grey[..., 2]).all()
    assert read_photo(str(folder / "turned.jpg")).shape == (41, 31, 3)


def test_results_have_the_photographs_sizes_and_names(predictor, photos, tmp_path):
    folder, pixels = photos
    calls = []
    out = tmp_path / "out"
    kinds = ("class_map", "overlay", "confidence", "probabilities")
    result = infer_images(
        predictor, str(folder), str(out), kinds, opacity=0.3, legend=False, progress=lambda *now: calls.append(now)
    )
    assert (result.written, result.kept) == (7, 0)
    assert {path.rpartition("/")[2] for path in result.failed} == {"cut.jpg", "none.png"}
    assert all("cut.jpg" in reason or "none.png" in reason for reason in result.failed.values())
    assert calls[-1] == (9, 9)
    names = ["cmyk", "deep", "grey", "rgb", "rgba", "sub/one pixel, ü", "turned"]
    for kind, end in zip(kinds, (".png", ".jpg", ".png", ".npz"), strict=True):
        assert sorted(str(path.relative_to(out / kind)) for path in (out / kind).rglob("*.*")) == [
            name + end for name in names
        ]
    (expected,) = predictor.predict([pixels], "probabilities")
    class_map = np.asarray(Image.open(out / "class_map" / "rgb.png"))
    assert class_map.dtype == np.uint8 and (class_map == expected.class_map).mean() > 0.99
    confidence = np.asarray(Image.open(out / "confidence" / "rgb.png"))
    np.testing.assert_allclose(confidence / 65535, expected.confidence, atol=1e-4)
    with np.load(out / "probabilities" / "rgb.npz") as arrays:
        assert arrays["probabilities"].dtype == np.float16
        np.testing.assert_allclose(arrays["probabilities"], expected.probabilities, atol=1e-3)
        assert tuple(arrays["classes"]) == predictor.classes
    shown = np.asarray(Image.open(out / "overlay" / "rgb.jpg")).astype(int)
    assert np.abs(shown - overlay(pixels, class_map, predictor.palette, 0.3)).mean() < 12  # JPEG of noise
    assert Image.open(out / "overlay" / "turned.jpg").size == (31, 41)


def test_what_is_there_is_kept_unless_it_is_to_be_replaced(predictor, photos, tmp_path):
    folder, _ = photos
    out = tmp_path / "out"
    mine = out / "class_map" / "rgb.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    result = infer_images(predictor, str(folder / "r*.png"), str(out), batch_size=1)
    assert (result.written, result.kept) == (2, 0)  # rgb.png lacked its overlay
    assert mine.read_bytes() == b"mine" and (out / "overlay" / "rgb.jpg").is_file()
    result = infer_images(predictor, str(folder / "r*.png"), str(out))
    assert (result.written, result.kept) == (0, 2)
    infer_images(predictor, str(folder / "r*.png"), str(out), overwrite=True)
    assert Image.open(mine).size == (41, 31)
    assert not list(out.rglob(".*"))


def test_results_inside_the_input_are_not_predicted(predictor, photos):
    folder, _ = photos
    out = str(folder / "results")
    first = infer_images(predictor, str(folder), out)
    assert infer_images(predictor, str(folder), out).kept == first.written


def test_a_disk_that_refuses_is_an_error(predictor, photos, tmp_path):
    folder, _ = photos
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "class_map").write_bytes(b"a file where a folder is to be")
    with pytest.raises(OSError):
        infer_images(predictor, str(folder / "rgb.png"), str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(kinds=["mask"]), "Expected `kinds`"),
        (dict(kinds=[]), "number of kinds"),
        (dict(batch_size=0), "at least 1"),
        (dict(opacity=1.5), "`opacity` to be from 0 to 1, but got 1.5"),
        (dict(opacity=50, kinds=["class_map"]), "`opacity`"),
    ],
)
def test_wrong_arguments(predictor, photos, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        infer_images(predictor, str(photos[0]), str(tmp_path / "out"), **arguments)
