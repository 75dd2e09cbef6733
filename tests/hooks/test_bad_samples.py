"""Training on a data set of which some samples cannot be read."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY
from mmengine.dataset import ConcatDataset
from mmengine.registry import init_default_scope
from mmseg.registry import DATA_SAMPLERS, DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.runs import train
from cityseg_ext.datasets.quarantine import Quarantine
from cityseg_ext.hooks import BadSamplesHook
from cityseg_ext.hooks.replayed_batches import replayed

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def city(tiny_city, tmp_path):
    """The tiny city, whose first photograph is cut short."""
    root = shutil.copytree(tiny_city, tmp_path / "my city")
    first = sorted((root / "leftImg8bit" / "train").rglob("*.png"))[0]
    first.write_bytes(first.read_bytes()[:500])
    return root, str(first)


def config(root, tmp_path, on_error, workers=0, epochs=2):
    return load_config(
        str(ROOT / "configs" / "deeplabv3_r18_focaldice.py"),
        data_root=str(root),
        work_dir=str(tmp_path / "work"),
        image_size=(64, 128),
        batch_size=2,
        num_epochs=epochs,
        num_workers=workers,
        on_error=on_error,
        cfg_options=TINY,
    )


def test_by_default_the_error_ends_the_run(city, tmp_path):
    root, bad = city
    with pytest.raises(ValueError, match=f"'{bad}' to be a readable image"):
        train(config(root, tmp_path, None))


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_left_out_counted_and_listed(city, tmp_path, workers):
    root, bad = city
    result = train(config(root, tmp_path, "skip", workers))
    listed = [json.loads(line) for line in (result.work_dir / "bad_samples.jsonl").read_text().splitlines()]
    assert {line["photo"] for line in listed} == {bad} and len(listed) <= max(1, workers)
    (log,) = result.work_dir.glob("*/*.log")
    assert "1 of 4 training samples could not be read, and others took their places: Expected file" in log.read_text()
    again = train(config(root, tmp_path, "skip", workers, epochs=3), resume="auto")
    lines = (again.work_dir / "bad_samples.jsonl").read_text().splitlines()
    assert len(lines) == len(listed)  # known from before, and not read again


@pytest.mark.parametrize("workers", [0, 2])
def test_whoever_knows_of_a_bad_sample_the_same_one_takes_its_place(city, workers):
    """So that a resumed run, which knows them all, ends with the same weights."""

    def loaded(dataset, workers):
        sampler = DATA_SAMPLERS.build(dict(type="DefaultSampler", dataset=dataset, shuffle=True, seed=0))
        loader = replayed(DataLoader(dataset, 2, sampler=sampler, num_workers=workers, collate_fn=list), (0, 0, 0))
        return [sample for _ in range(2) for batch in loader for sample in batch]

    known = build(city[0], flip=True)
    assert known.prepare_data(0) is None and len(known.quarantine) == 1
    expected = loaded(known, 0)
    assert len({sample["data_samples"].img_path for sample in expected}) == 3
    for one, other in zip(expected, loaded(build(city[0], flip=True), workers), strict=True):
        assert torch.equal(one["inputs"], other["inputs"])


def test_data_sets_that_are_joined_have_lists_of_their_own(city, tmp_path):
    class Runner:
        work_dir, _resume = str(tmp_path), False

    joined = ConcatDataset([build(city[0]), build(city[0])])
    Runner.train_dataloader = DataLoader(joined)
    BadSamplesHook().before_train(Runner)
    assert joined[0] is not None and joined[4] is not None
    listed = [json.loads((tmp_path / name).read_text()) for name in ("bad_samples.jsonl", "bad_samples_2.jsonl")]
    assert [line["photo"] for line in listed] == [city[1]] * 2


def test_a_new_run_tries_again(city, tmp_path):
    root, bad = city
    train(config(root, tmp_path, "skip", epochs=1))
    Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(bad)
    result = train(config(root, tmp_path, "skip", epochs=1))
    assert not (result.work_dir / "bad_samples.jsonl").exists()


def build(root, test_mode=False, flip=False):
    init_default_scope("mmseg")
    pipeline = [dict(type="LoadStreetImage"), dict(type="LoadColorMaskAnnotations")]
    pipeline += [dict(type="RandomFlip", prob=0.5)] * flip + [dict(type="PackSegInputs")]
    prefix = dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train")
    kind = dict(type="CityscapesColorMaskDataset", data_root=str(root), data_prefix=prefix, pipeline=pipeline)
    return DATASETS.build(kind | dict(on_error="skip", test_mode=test_mode))


def test_a_data_set_that_is_mostly_bad_is_an_error(city):
    root, _ = city
    for path in (root / "gtFine" / "train").rglob("*_color.png"):
        path.write_bytes(b"")
    dataset = build(root)
    assert dataset.prepare_data(0) is None and dataset.prepare_data(1) is None
    with pytest.raises(ValueError, match=r"'raise' unless most samples can be read, but got 3 of 4 bad ones, the last"):
        dataset.prepare_data(2)


def test_tests_never_skip(city):
    with pytest.raises(ValueError, match="readable image"):
        build(city[0], test_mode=True)[0]


def test_a_line_that_was_cut_short_is_passed_over(tmp_path):
    one, two = Quarantine(), Quarantine()
    one.file = two.file = tmp_path / "bad.jsonl"
    one.add("ä.png", "no image")
    with one.file.open("a") as file:
        file.write('{"photo": "b.pn')
    two.read()
    assert two.reasons == {"ä.png": "no image"} and "ä.png" in two
