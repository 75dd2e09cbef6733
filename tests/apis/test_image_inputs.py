import os

import pytest

from cityseg_ext.apis.image_inputs import find_images


@pytest.fixture
def tree(tmp_path):
    for name in ("a/b c.jpg", "a/b c.PNG", "a/ü.jpeg", "d/b c.jpg", "notes.txt", ".hidden.png", "out/overlay/x.jpg"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "tree"


def test_a_folder_gives_names_that_differ_and_leaves_results_out(tree):
    found = find_images(str(tree), without=str(tree / "out"))
    assert list(found) == ["a/b c.PNG", "a/b c.jpg", "a/ü", "d/b c"]
    assert found["d/b c"] == str(tree / "d" / "b c.jpg")


def test_a_pattern_gives_names_below_its_fixed_part(tree):
    assert list(find_images(f"{tree}/**/*.jp*g")) == ["a/b c", "a/ü", "d/b c", "out/overlay/x"]
    assert list(find_images(f"{tree}/d/*")) == ["b c"]


def test_a_file_may_be_called_anything(tree, monkeypatch):
    assert find_images(str(tree / "notes.txt")) == {"notes": str(tree / "notes.txt")}
    (tree / "[1].png").write_bytes(b"")  # looks like a pattern and is a file
    assert list(find_images(str(tree / "[1].png"))) == ["[1]"]


def test_names_that_some_disks_take_for_one_are_refused(tree):
    (tree / "d" / "B C.jpg").write_bytes(b"")
    if len(os.listdir(tree / "d")) == 1:
        pytest.skip("this disk does not tell upper case from lower")
    with pytest.raises(ValueError, match="differ in more than upper and lower case, but got .*B C.jpg.*b c.jpg"):
        find_images(str(tree / "d"))


@pytest.mark.parametrize("name", ["nothing", "nothing.png", "empty"])
def test_nothing_to_predict_is_an_error(tree, name):
    (tree / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Expected `input` to be (an existing|one with images)"):
        find_images(str(tree / name))
