import io

import cv2
import numpy as np
import pytest
from PIL import Image

from cityseg_ext.transforms.label_file import _decode_fast, read_ids

IDS = np.arange(42, dtype=np.uint8).reshape(6, 7)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("grey.png", Image.fromarray(IDS)),
        ("grey.bmp", Image.fromarray(IDS)),
        ("rgb.png", Image.fromarray(np.dstack([IDS] * 3))),
        ("wide.png", Image.fromarray(IDS.astype(np.uint16) * 1000)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ids_are_read_as_they_are(tmp_path, name, image):
    path = tmp_path / name
    image.save(path)
    pixels = read_ids(str(path))
    np.testing.assert_array_equal(pixels, IDS.astype(np.int64) * (1000 if name == "wide.png" else 1))
    assert pixels.dtype == (np.int64 if name == "wide.png" else np.uint8)


def test_palette_indices_are_ids(tmp_path):
    image = Image.fromarray(IDS).convert("P")
    image.putdata(IDS.ravel().tolist())
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_ids(str(tmp_path / "p.png")), IDS)


def test_truncated_files_are_refused_in_one_sentence(tmp_path, capfd):
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 256, (50, 60), np.uint8)
    path.write_bytes(cv2.imencode(".png", noise)[1].tobytes()[:-300])
    with pytest.raises(ValueError, match="cut.png' to be a readable image"):
        read_ids(str(path))
    assert not capfd.readouterr().err


def test_colours_are_refused_with_the_cure_asked_for(tmp_path):
    path = tmp_path / "c.png"
    Image.fromarray(np.dstack([IDS, IDS, IDS + 1])).save(path)
    with pytest.raises(ValueError, match="differing channels. Do something else."):
        read_ids(str(path), "Do something else.")


def colours(mode="RGB", size=(30, 40)):
    channels = np.random.default_rng(0).integers(0, 256, (*size, 4), np.uint8)
    return Image.fromarray(channels[..., : len(mode)])


def png(image, **options):
    data = io.BytesIO()
    image.save(data, "PNG", **options)
    return data.getvalue()


def pixels_of(data):
    """Pixels by OpenCV in Pillow's order of channels, or None; and by Pillow."""
    image = Image.open(io.BytesIO(data))
    fast = _decode_fast(data, image)
    if fast is not None and fast.ndim == 3:
        fast = fast[..., [2, 1, 0, 3][: fast.shape[2]]]
    return fast, image


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_opencv_reads_what_pillow_reads(mode):
    image = colours("RGBA").getchannel(0) if mode == "L" else colours(mode)
    exif = Image.Exif()
    exif[0x112] = 6  # turned by a quarter: neither of them turns labels
    for options in ({}, dict(optimize=True), dict(gamma=0.3), dict(exif=exif)):
        fast, slow = pixels_of(png(image, **options))
        np.testing.assert_array_equal(fast, np.asarray(slow))


ODD = {
    "16 bit": lambda: cv2.imencode(".png", np.full((3, 4, 3), 1000, np.uint16))[1].tobytes(),
    "transparent colour": lambda: png(Image.new("RGB", (4, 4), (1, 2, 3)), transparency=(1, 2, 3)),
    "colour profile": lambda: png(colours(), icc_profile=b"odd"),
    "bmp": lambda: cv2.imencode(".bmp", np.zeros((3, 4, 3), np.uint8))[1].tobytes(),
    "cut short": lambda: png(colours())[:-20],
    "without its end": lambda: png(colours())[:-12],
    "one bit": lambda: png(colours())[:200] + bytes([png(colours())[200] ^ 1]) + png(colours())[201:],
    "a length that is too large": lambda: png(colours())[:8] + b"\xff" + png(colours())[9:],
}


@pytest.mark.parametrize("name", ODD)
def test_what_opencv_reads_in_another_way_is_left_to_pillow(name, capfd):
    data = ODD[name]()
    image = Image.new("RGB", (4, 3)) if "length" in name else Image.open(io.BytesIO(data))
    assert _decode_fast(data, image) is None
    assert not capfd.readouterr().err
