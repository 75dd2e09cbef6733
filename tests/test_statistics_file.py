import pytest

from cityseg_ext.apis.dataset_statistics import save_statistics
from cityseg_ext.functional.dataset_statistics import DatasetStatistics
from cityseg_ext.statistics_file import load_statistics, read_json


def test_what_was_saved_is_read(tmp_path):
    before = DatasetStatistics("0a", ("road", "süd"), ((0, 0, 0), (1, 2, 3)), splits={}, problems=())
    after = load_statistics(save_statistics(before, tmp_path / "a, ü"))
    assert (after.fingerprint, after.classes, after.palette) == (before.fingerprint, before.classes, before.palette)


@pytest.mark.parametrize("name", ["none.json", "."])
def test_no_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="to be dataset statistics, but got no file.*tools/check_dataset.py"):
        load_statistics(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"nonsense"])
def test_no_json(tmp_path, content):
    (tmp_path / "x, ü.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"x, ü.json' to be weights, but got no JSON \(.*tools/check_dataset.py"):
        read_json(tmp_path / "x, ü.json", "weights")


def test_other_json(tmp_path):
    (tmp_path / "x.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="x.json.*other JSON"):
        load_statistics(tmp_path / "x.json")
