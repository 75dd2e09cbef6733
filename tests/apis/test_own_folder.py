import pytest

from cityseg_ext.apis.own_folder import OwnFolder


def make(path, generator="writer"):
    return OwnFolder(path, generator, "stamp.json")


def test_filled_means_finished_with_the_same_arguments(tmp_path):
    folder = make(tmp_path / "a")
    folder.begin([])
    assert not make(tmp_path / "a").is_filled(dict(count=1))
    folder.finish(dict(count=1))
    assert make(tmp_path / "a").is_filled(dict(count=1)) and not make(tmp_path / "a").is_filled(dict(count=2))


def test_nothing_is_touched_before_it_begins(tmp_path):
    make(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = make(tmp_path / "a")
    path = folder.write("deep/er/x.png", b"old")
    assert path == tmp_path / "a" / "deep" / "er" / "x.png" and [item.name for item in path.parent.iterdir()] == [
        "x.png"
    ]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.write("deep/er/x.png", b"new")
    assert path.read_bytes() == b"old"


def test_a_file_or_another_functions_folder_is_refused(tmp_path):
    make(tmp_path / "a").finish({})
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "a", tmp_path / "file"):
        with pytest.raises(ValueError, match=f"'{path}' to be an empty folder"):
            make(path, "another")
