"""Photographs from bytes, against what the data sets' loading transform reads from a file."""

import io

import numpy as np
import pytest
from PIL import Image

from cityseg_ext.transforms.image import LoadStreetImage, decode_photo

RNG = np.random.default_rng(0)
COLOR = Image.fromarray(RNG.integers(0, 256, (5, 8, 3), dtype=np.uint8))
TURNED = Image.Exif()
TURNED[0x0112] = 6  # orientation: to be turned by a quarter
PHOTOS = {
    "colour.png": (COLOR, {}),
    "grey.png": (COLOR.convert("L"), {}),
    "palette.png": (COLOR.convert("P"), {}),
    "transparent.png": (COLOR.convert("RGBA"), {}),
    "16 bit.png": (Image.fromarray(RNG.integers(0, 1 << 16, (5, 8), dtype=np.uint16)), {}),
    "one pixel.png": (COLOR.crop((0, 0, 1, 1)), {}),
    "turned.JPG": (COLOR, dict(format="JPEG", exif=TURNED)),
    "cmyk.jpg": (COLOR.convert("CMYK"), {}),
    "lossless.webp": (COLOR, dict(lossless=True)),
    "ü, 1.tif": (COLOR, {}),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_bytes_are_decoded_as_files_are(tmp_path, name):
    image, options = PHOTOS[name]
    path = tmp_path / name
    image.save(path, **options)
    loaded = LoadStreetImage().transform(dict(img_path=str(path)))["img"]
    found = decode_photo(path.read_bytes(), name)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    assert found.shape == ((8, 5, 3) if name == "turned.JPG" else (image.height, image.width, 3))
    np.testing.assert_array_equal(found, loaded[..., ::-1])
    if image is COLOR and name != "turned.JPG":
        np.testing.assert_array_equal(found, np.asarray(COLOR))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_half_a_file_is_refused(kind):
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, kind)
    with pytest.raises(ValueError, match="Expected file 'half' to be a readable image, but got"):
        decode_photo(file.getvalue()[: len(file.getvalue()) // 2], "half")
