import os
import pickle
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image

from cityseg_ext.labels import LABELS
from cityseg_ext.transforms import color_mask
from cityseg_ext.transforms.label_cache import LabelCache, file_state

COLORS = np.array([label.color for label in LABELS if label.color != (0, 0, 0)], np.uint8)


def mask(path, seed=0, size=(40, 60)):
    """A colour mask of random official colours."""
    Image.fromarray(COLORS[np.random.default_rng(seed).integers(0, len(COLORS), size)]).save(path)
    return str(path)


def transform(folder=None, **options):
    return TRANSFORMS.build(dict(type="LoadColorMaskAnnotations", cache_dir=folder and str(folder), **options))


def load(path, folder=None, **options):
    return transform(folder, **options)(dict(seg_map_path=path, seg_fields=[]))["gt_seg_map"]


@pytest.fixture
def decoded(monkeypatch):
    """The paths that were decoded."""
    paths = []
    read = color_mask.read_label

    def spy(path, *arguments, **options):
        paths.append(path)
        return read(path, *arguments, **options)

    monkeypatch.setattr(color_mask, "read_label", spy)
    return paths


def test_a_label_is_decoded_once(tmp_path, decoded):
    path, folder = mask(tmp_path / "a mask, ü.png"), tmp_path / "a cache" / "inside"
    expected = load(path)
    del decoded[:]
    for _ in range(3):
        found = load(path, folder)
        np.testing.assert_array_equal(found, expected)
        found[:] = 7  # a transform may write into it
    assert found.dtype == np.uint8 and decoded == [path]


def test_a_label_that_changed_is_decoded_again_in_the_same_entry(tmp_path, decoded):
    path, folder = mask(tmp_path / "m.png"), tmp_path / "cache"
    load(path, folder)
    size, changed = file_state(path)
    mask(path, seed=1)
    np.testing.assert_array_equal(load(path, folder), load(path))
    os.utime(path, ns=(changed, changed + 10**9))  # touched only
    del decoded[:]
    load(path, folder)
    load(path, folder)
    assert decoded == [path]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    "other", [dict(taxonomy="cityscapes29"), dict(mode="nearest"), dict(mode="robust", uncertain="ignore")], ids=str
)
def test_settings_have_entries_of_their_own(tmp_path, other):
    path, folder = mask(tmp_path / "m.png"), tmp_path / "cache"
    first = load(path, folder)
    for _ in range(2):
        np.testing.assert_array_equal(load(path, folder, **other), load(path, **other))
        np.testing.assert_array_equal(load(path, folder), first)
    assert len(list(folder.iterdir())) == 2


def test_halves_of_a_pair_have_entries_of_their_own(tmp_path):
    sample = dict(seg_map_path=mask(tmp_path / "pair.png"), seg_fields=[])
    cached, plain = transform(tmp_path / "cache"), transform()
    for half in ("left", "right") * 2:
        one, other = (way(sample | dict(label_half=half))["gt_seg_map"] for way in (cached, plain))
        np.testing.assert_array_equal(one, other)


DAMAGES = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "no entry": lambda data: b"something else",
    "other JSON": lambda data: zlib.compress(b"[1]\nabc"),
    "other shape": lambda data: zlib.compress(zlib.decompress(data)[:-1]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_entries_are_made_again_with_a_warning(tmp_path, damage, decoded, caplog):
    path, folder = mask(tmp_path / "m.png"), tmp_path / "cache"
    expected = load(path, folder)
    (entry,) = folder.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    with caplog.at_level("WARNING"):
        np.testing.assert_array_equal(load(path, folder), expected)
    del decoded[:]
    np.testing.assert_array_equal(load(path, folder), expected)
    assert decoded == []


def test_damage_is_named(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("cityseg_ext.transforms.label_cache.print_log", lambda text, **_: lines.append(text))
    path, folder = mask(tmp_path / "m.png"), tmp_path / "cache"
    load(path, folder)
    (entry,) = folder.iterdir()
    entry.write_bytes(b"")
    load(path, folder)
    assert len(lines) == 1 and path in lines[0] and str(entry) in lines[0] and "damaged" in lines[0]


def test_an_entry_that_cannot_be_read_does_not_end_a_run(tmp_path, decoded):
    """As on a share that has lost it, or where somebody else may read it alone."""
    path, folder = mask(tmp_path / "m.png"), tmp_path / "cache"
    expected = load(path, folder)
    (entry,) = folder.iterdir()
    entry.unlink()
    entry.mkdir()
    np.testing.assert_array_equal(load(path, folder), expected)
    assert decoded == [path] * 2


def test_unknown_colours_are_reported_each_time(tmp_path):
    path, folder = tmp_path / "m.png", tmp_path / "cache"
    Image.new("RGB", (4, 4), (1, 2, 3)).save(path)
    for _ in range(2):
        with pytest.raises(ValueError, match="16 of 16 pixels with 1 other colours"):
            load(str(path), folder)
    assert (load(str(path), folder, unknown="ignore") == 255).all()
    assert not list(folder.iterdir())


def test_labels_of_the_wrong_size_are_refused_from_the_cache_too(tmp_path):
    path, folder = mask(tmp_path / "m.png"), tmp_path / "cache"
    load(path, folder)
    with pytest.raises(ValueError, match="of its photograph's size 61x40"):
        transform(folder)(dict(seg_map_path=path, seg_fields=[], ori_shape=(40, 61)))
    os.remove(path)
    with pytest.raises(FileNotFoundError, match="m.png"):
        load(path, folder)


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="`cache_dir` to be a folder that can be written, but got '.*file/cache'.*Choose"):
        transform(tmp_path / "file" / "cache")
    with pytest.raises(ValueError, match="`cache_dir` to be left out where labels are no local files"):
        transform(tmp_path / "cache", backend_args=dict(backend="local"))


def test_a_full_disk_does_not_end_a_run(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("cityseg_ext.transforms.label_cache.print_log", lambda text, **_: lines.append(text))
    cache = LabelCache(tmp_path / "cache")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cityseg_ext.transforms.label_cache.os.replace", full)
    path = mask(tmp_path / "m.png")
    for _ in range(3):
        cache.write(path, "", file_state(path), np.zeros((2, 2), np.uint8))
    assert len(lines) == 1 and "No space left" in lines[0]
    assert not list(cache.folder.iterdir())


def _load_all(job):
    loading, paths = job
    return [loading(dict(seg_map_path=path, seg_fields=[]))["gt_seg_map"].tobytes() for path in paths]


def test_processes_share_a_folder(tmp_path):
    paths = [mask(tmp_path / f"{seed}.png", seed) for seed in range(4)]
    expected = [load(path).tobytes() for path in paths]
    loading = transform(tmp_path / "cache")
    with ProcessPoolExecutor(3, get_context("fork")) as pool:
        for found in pool.map(_load_all, [(loading, paths * 5)] * 6):
            assert found == expected * 5
    assert len(list((tmp_path / "cache").iterdir())) == len(paths)  # and nothing half written
    assert _load_all((pickle.loads(pickle.dumps(loading)), paths)) == expected


def test_repr_names_the_folder(tmp_path):
    assert f"cache_dir='{tmp_path / 'c'}'" in repr(transform(tmp_path / "c"))
    assert "cache_dir" not in repr(transform())


def test_names_need_not_be_utf8(tmp_path):
    path = mask(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert (load(path, tmp_path / "cache") == load(path, tmp_path / "cache")).all()
    assert len(list((tmp_path / "cache").iterdir())) == 1
