import cv2
import numpy as np
import pytest
from PIL import Image

from cityseg_ext.transforms.label_file import read_ids

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
