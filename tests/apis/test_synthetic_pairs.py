import numpy as np
import pytest
from PIL import Image

from cityseg_ext.apis import write_synthetic_pairs
from cityseg_ext.labels import LABELS

COLORS = {label.color for label in LABELS}


def write(root, **options):
    return write_synthetic_pairs(root, **dict(train=2, val=1, size=32) | options)


def read(root, name="train/1"):
    (path,) = root.glob(f"{name}.*")
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return pixels[:, :32], pixels[:, 32:]


def colors(mask):
    return set(map(tuple, mask.reshape(-1, 3).tolist()))


def files(root):
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*.*")}


def test_names_and_sizes(tmp_path):
    calls = []
    root = write(tmp_path / "a", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert set(files(root)) == {"synthetic_pairs.json", "train/1.jpg", "train/2.jpg", "val/1.jpg"}
    with Image.open(root / "val/1.jpg") as pair:
        assert pair.size == (64, 32) and pair.format == "JPEG"
    assert (read(root)[0] != read(root, "train/2")[0]).any()


def test_filter_and_compression_mix_colours(tmp_path):
    exact = write(tmp_path / "exact", resize="nearest", quality=None)
    assert {path.suffix for path in exact.glob("*/*")} == {".png"} and colors(read(exact)[1]) <= COLORS
    smooth = write(tmp_path / "smooth", resize="area", quality=None)
    assert not colors(read(smooth)[1]) <= COLORS
    good, bad = (write(tmp_path / str(quality), quality=quality) for quality in (95, 20))
    reference = read(smooth)[1].astype(int)
    assert 0 < abs(read(good)[1] - reference).mean() < abs(read(bad)[1] - reference).mean()


def test_what_is_written_is_used_again_or_replaced(tmp_path):
    before = files(write(tmp_path / "a"))
    assert files(write(tmp_path / "a")) == before
    (tmp_path / "a/train/1_truth.png").write_text("mine")
    root = write(tmp_path / "a", train=1, quality=None)
    assert {path.name for path in root.glob("*/*")} == {"1.png", "1_truth.png"}
    assert (root / "train/1_truth.png").read_text() == "mine"


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "1.jpg").write_text("mine")
    with pytest.raises(ValueError, match="to be an empty folder, or one that this function wrote"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1.jpg"]


@pytest.mark.parametrize(
    "wrong", [dict(train=0), dict(size=31), dict(seed=-1), dict(resize="round"), dict(quality=0), dict(quality=101)]
)
def test_arguments_are_checked(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        write(tmp_path / "a", **wrong)
    assert not (tmp_path / "a").exists()
