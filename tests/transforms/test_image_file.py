import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cityseg_ext.labels import CITYSCAPES_19
from cityseg_ext.transforms import LoadColorMaskAnnotations, LoadStreetImage
from cityseg_ext.transforms.image_file import MAX_PIXELS


def png_header(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def write_pair(path, width=16, **options):
    """Left half noise, right half road; returns the photograph, RGB."""
    pixels = np.zeros((4, width, 3), np.uint8)
    pixels[:, : width // 2] = np.random.default_rng(0).integers(0, 256, (4, width // 2, 3))
    pixels[:, width // 2 :] = CITYSCAPES_19.palette[0]
    Image.fromarray(pixels).save(path, **options)
    return pixels[:, : width // 2]


@pytest.mark.parametrize("side", [30_000, 12_000])
def test_a_header_that_claims_too_much_is_refused_before_decoding(tmp_path, side):
    assert side**2 > MAX_PIXELS
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    for load in (LoadStreetImage(), LoadColorMaskAnnotations("color", "cityscapes19")):
        with pytest.raises(ValueError, match=r"bomb.png' to be an image of at most 134217728 pixels"):
            load(dict(img_path=str(path), seg_map_path=str(path)))


def test_halves_of_one_file(tmp_path):
    photo = write_pair(tmp_path / "1.png")
    results = dict(
        img_path=str(tmp_path / "1.png"), seg_map_path=str(tmp_path / "1.png"), photo_half="left", label_half="right"
    )
    results = LoadStreetImage()(results)
    np.testing.assert_array_equal(results["img"], photo[..., ::-1])
    assert results["img_shape"] == results["ori_shape"] == (4, 8)
    results = LoadColorMaskAnnotations("color", "cityscapes19")(results)
    assert results["gt_seg_map"].shape == (4, 8) and (results["gt_seg_map"] == 0).all()


def test_an_odd_width_has_no_halves(tmp_path):
    write_pair(tmp_path / "odd one, ü.png", width=17)
    path = str(tmp_path / "odd one, ü.png")
    for load, key in (
        (LoadStreetImage(), "photo_half"),
        (LoadColorMaskAnnotations("color", "cityscapes19"), "label_half"),
    ):
        with pytest.raises(ValueError, match=r"odd one, ü.png' to be a pair of equal halves.*width 17"):
            load({"img_path": path, "seg_map_path": path, key: "right"})


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_colour_masks_in_grey_or_cmyk_are_refused(tmp_path, mode):
    data = io.BytesIO()
    Image.new(mode, (8, 8)).save(data, "JPEG")
    (tmp_path / "a.jpg").write_bytes(data.getvalue())
    with pytest.raises(ValueError, match=rf"a.jpg' to be a colour mask.*mode {mode}"):
        LoadColorMaskAnnotations("color", "cityscapes19")(dict(seg_map_path=str(tmp_path / "a.jpg")))
