import cv2
import numpy as np
import pytest
from PIL import Image

from cityseg_ext.apis import write_synthetic_cityscapes
from cityseg_ext.labels import LABEL_BY_ID


def write(root, **options):
    return write_synthetic_cityscapes(root, **dict(train=2, val=1, height=64, width=96) | options)


def files(root):
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*.*")}


def test_the_tree_is_that_of_cityscapes(tmp_path):
    calls = []
    root = write(tmp_path / "a", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    expected = {"synthetic.json"}
    for split, index in (("train", 0), ("train", 1), ("val", 0)):
        stem = f"{split}/synth/synth_000000_{index:06d}"
        expected |= {f"leftImg8bit/{stem}_leftImg8bit.png"}
        expected |= {f"gtFine/{stem}_gtFine_labelIds.png", f"gtFine/{stem}_gtFine_color.png"}
    assert set(files(root)) == expected
    ids = cv2.imread(str(root / "gtFine/val/synth/synth_000000_000000_gtFine_labelIds.png"), cv2.IMREAD_UNCHANGED)
    mask = Image.open(root / "gtFine/val/synth/synth_000000_000000_gtFine_color.png")
    assert ids.dtype == np.uint8 and ids.shape == (64, 96) and mask.mode == "RGBA"
    pixels = np.asarray(mask)
    assert (pixels[..., 3] == 255).all()
    for number in np.unique(ids):
        assert (pixels[ids == number][:, :3] == LABEL_BY_ID[number].color).all()


def test_a_second_call_writes_nothing(tmp_path):
    before = files(write(tmp_path / "a"))
    assert files(write(tmp_path / "a")) == before


def test_other_arguments_replace_our_files_and_only_ours(tmp_path):
    root = write(tmp_path / "a")
    own = root / "leftImg8bit" / "notes.txt"
    own.write_text("mine")
    write(root, train=1)
    assert own.read_text() == "mine" and len(list(root.glob("leftImg8bit/train/synth/*"))) == 1


def test_an_interrupted_call_is_finished(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", progress=stop)
    assert len(list(write(tmp_path / "a").glob("leftImg8bit/*/synth/*"))) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [("photo.png", "mine"), ("synthetic.json", '{"theirs": 1}'), ("synthetic.json", "[1]"), ("synthetic.json", "")],
)
def test_a_folder_of_somebody_else_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"'{tmp_path}' to be an empty folder, or one that this function wrote"):
        write(tmp_path)
    assert list(files(tmp_path)) == [name] and (tmp_path / name).read_text() == text


@pytest.mark.parametrize("wrong", [dict(height=32), dict(width=1), dict(seed=-1), dict(train=0)])
def test_arguments_are_checked_before_anything_is_touched(tmp_path, wrong):
    before = files(write(tmp_path / "a"))
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` to be at least"):
        write(tmp_path / "a", **wrong)
    assert files(tmp_path / "a") == before
