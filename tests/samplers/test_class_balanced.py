import logging
import os
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DATA_SAMPLERS as PARENT
from mmengine.runner import Runner
from mmseg.registry import DATA_SAMPLERS

from cityseg_ext.apis.checkpoint import allow_plain_types
from cityseg_ext.apis.dataset_statistics import save_statistics
from cityseg_ext.datasets import CityscapesColorMaskDataset, CityscapesPairsDataset
from cityseg_ext.functional.class_sampling import ClassSampling
from cityseg_ext.functional.dataset_statistics import DatasetStatistics, SplitStatistics
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_29, IGNORE_INDEX

SIDE = 8
AREA = SIDE * SIDE
ROWS = [(0, 0), (0, 0), (0, 0), (0, 2), (0, 2), (0, 2), (0, 5), (2, 2), (IGNORE_INDEX,) * 2, (0, 0), (2, 0)]
"""The classes of the left and right half of each image."""


def write_city(root, rows=ROWS, split="train"):
    """Photographs of noise with labels as class indices, and the counts of their pixels."""
    rng = np.random.default_rng(0)
    for index, halves in enumerate(rows):
        stem = f"ulm, süd/{index:02d}"
        for tree, suffix, picture in (
            ("leftImg8bit", "_leftImg8bit.png", rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)),
            ("gtFine", "_gtFine_labelTrainIds.png", np.repeat([halves], SIDE, 0).repeat(SIDE // 2, 1).astype(np.uint8)),
        ):
            path = root / tree / split / f"{stem}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return root


def statistics_of(names, rows=ROWS, taxonomy=CITYSCAPES_19):
    counts = np.array([[AREA // 2 * row.count(c) for c in range(taxonomy.num_classes)] for row in rows])
    void = AREA - counts.sum(axis=1)
    split = SplitStatistics(tuple(names), counts, void, np.full((len(rows), 2), SIDE))
    return DatasetStatistics("f", taxonomy.classes, taxonomy.palette, {"train": split}, ())


def names_of(rows=ROWS):
    return [f"leftImg8bit/train/ulm, süd/{index:02d}_leftImg8bit.png" for index in range(len(rows))]


def city(root, **options):
    prefix = dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train")
    return CityscapesColorMaskDataset(str(root), prefix, source="train_ids", **options)


@pytest.fixture
def root(tmp_path):
    return write_city(tmp_path / "data, ü")


@pytest.fixture
def stats(tmp_path):
    return str(save_statistics(statistics_of(names_of()), tmp_path / "stats"))


def make(dataset, statistics, **options):
    config = dict(type="ClassBalancedSampler", dataset=dataset, statistics=statistics, temperature=0.2, seed=0)
    return DATA_SAMPLERS.build(config | options)


def expected_probabilities(temperature=0.01, min_share=0.0015):
    split = statistics_of(names_of()).splits["train"]
    areas = np.full(len(ROWS), AREA)
    return ClassSampling.of(split.counts, areas, temperature, min_share).images(split.counts, areas)


@pytest.mark.parametrize("temperature", [0.01, 0.2, float("inf")])
def test_frequencies_over_many_epochs(root, stats, temperature):
    sampler = make(city(root), stats, temperature=temperature)
    p = expected_probabilities(temperature)
    assert p[8] == 0  # all void
    drawn = np.zeros(len(ROWS))
    epochs = 600
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        counts = np.bincount(list(sampler), minlength=len(ROWS))
        assert (abs(counts - len(ROWS) * p) < 1 + 1e-9).all()
        drawn += counts
    rest = len(ROWS) * p % 1
    assert (abs(drawn - epochs * len(ROWS) * p) <= 5 * np.sqrt(epochs * rest * (1 - rest)) + 1e-6).all()


def test_a_draw_depends_on_seed_and_epoch_only(root, stats):
    def draw(seed, epoch):
        sampler = make(city(root), stats, seed=seed, num_samples=50)
        sampler.set_epoch(epoch)
        torch.rand(3), np.random.rand(3)
        return list(sampler)

    assert draw(0, 0) == draw(0, 0)
    assert draw(0, 3) == draw(0, 3)
    assert len({tuple(draw(0, epoch)) for epoch in range(5)}) == 5
    assert draw(0, 0) != draw(7, 0)
    sampler = make(city(root), stats)
    assert list(sampler) == list(sampler)


def test_a_draw_leaves_the_random_numbers_of_a_training_alone(root, stats):
    sampler = make(city(root), stats)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(sampler)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


def draw_in_rank(rank, world_size, folder, root, stats):
    dist.init_process_group("gloo", f"file://{folder}/store-{world_size}", rank=rank, world_size=world_size)
    import cityseg_ext.plugin  # noqa: F401

    sampler = make(city(root), stats, seed=None)  # they agree on one
    sampler.set_epoch(2)
    np.save(folder / f"{rank}.npy", [sampler.seed, len(sampler), *sampler])
    dist.barrier()
    os._exit(0)  # gloo's threads sometimes abort in the interpreter's own exit


def test_ranks_take_turns_in_one_draw(root, stats, tmp_path):
    world_size = 2
    mp.start_processes(draw_in_rank, (world_size, tmp_path, root, stats), nprocs=world_size, start_method="spawn")
    (seed, number, *first), (other_seed, other_number, *second) = (
        np.load(tmp_path / f"{rank}.npy").tolist() for rank in range(world_size)
    )
    assert seed == other_seed and number == other_number == len(first) == len(second) == 6  # 11 images, rounded up
    single = make(city(root), stats, seed=seed, num_samples=12)
    single.set_epoch(2)
    assert [image for pair in zip(first, second, strict=True) for image in pair] == list(single)


def test_subsets_need_no_new_statistics(root, stats):
    sampler = make(city(root, max_images=7), stats)
    assert len(sampler) == 7 and set(sampler) <= set(range(7))
    sampler = make(city(root, indices=[0, 6]), stats, temperature=0.01)
    assert list(sampler) == [1, 1]


def test_pairs_are_known_by_their_names(tmp_path):
    names = ["train/1.jpg", "train/2.jpg", "train/10.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = [(0, 0), (0, 0), (2, 2)]
    stats = save_statistics(statistics_of(names, rows), tmp_path / "stats")
    dataset = CityscapesPairsDataset(str(tmp_path), dict(img_path="train"))
    sampler = make(dataset, str(stats), temperature=0.01)
    assert sampler.probabilities.tolist() == pytest.approx([0, 0, 1], abs=1e-9)


def test_concatenated_data_sets(root, stats, tmp_path):
    both = ConcatDataset([city(root, indices=[6]), city(root, indices=[0, 1])])
    assert sorted(make(both, stats, temperature=0.01, num_samples=9)) == [0] * 9
    with pytest.raises(TypeError, match="ConcatDataset, but got RepeatDataset.*num_samples"):
        make(RepeatDataset(city(root), 2), stats)


def test_two_images_of_one_name_are_refused(root, tmp_path):
    twice = statistics_of([*names_of(), names_of()[0]], [*ROWS, (2, 2)])
    path = str(save_statistics(twice, tmp_path / "twice"))
    with pytest.raises(ValueError, match="one image a name.*00_leftImg8bit.png.*data_root"):
        make(city(root), path)


def test_statistics_of_another_data_set_are_refused(root, tmp_path):
    path = str(save_statistics(statistics_of([f"x/{name}" for name in names_of()]), tmp_path / "stats"))
    with pytest.raises(ValueError, match=r"lacks 11 of 11: leftImg8bit/train.*and 8 more.*tools/check_dataset.py"):
        make(city(root), path)


def test_statistics_of_other_classes_are_refused(root, tmp_path):
    path = str(save_statistics(statistics_of(names_of(), taxonomy=CITYSCAPES_29), tmp_path / "stats"))
    with pytest.raises(ValueError, match="of the 19 classes of the data set, but got other 29 classes"):
        make(city(root), path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(statistics=None), ValueError, r"`statistics`.*None.*tools/train.py.*tools/check_dataset.py"),
        (dict(statistics="none.json"), FileNotFoundError, "none.json.*no file.*tools/check_dataset.py"),
        (dict(temperature=0), ValueError, "`temperature` to be above 0"),
        (dict(min_share=1), ValueError, "`min_share`"),
        (dict(num_samples=0), ValueError, "`num_samples` to be at least 1"),
    ],
)
def test_wrong_arguments(root, stats, options, error, message):
    with pytest.raises(error, match=message):
        make(city(root), **(dict(statistics=stats) | options))


def test_a_data_set_of_void_only_is_refused(root, stats):
    with pytest.raises(ValueError, match="a labelled pixel, but got none"):
        make(city(root, indices=[8]), stats)


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        if record.getMessage().startswith("ClassBalancedSampler:"):
            self.records.append((record.levelname, record.getMessage()))


@pytest.fixture
def log():
    lines = Lines()
    logger = MMLogger.get_current_instance()
    logger.addHandler(lines)
    yield lines.records
    logger.removeHandler(lines)


def test_the_log_says_how_varied_the_images_are(root, stats, log):
    p = expected_probabilities(0.2)
    make(city(root), stats, temperature=0.2)
    ((level, message),) = log
    assert level == "INFO"
    assert "11 images, drawn for pole (" in message and "), building (" in message
    assert f"as varied as {1 / (p**2).sum():.0f} that are drawn alike" in message
    assert f"06_leftImg8bit.png' comes most often, {11 * p[6]:.1f} times an epoch of 11" in message
    assert "1 images are never drawn" in message


def test_a_handful_of_images_is_a_warning(root, stats, log):
    make(city(root), stats, temperature=0.001)
    ((level, message),) = log
    assert level == "WARNING" and "as varied as 1 " in message and "raise `temperature`" in message


def test_registered_beside_mmengines_samplers():
    assert DATA_SAMPLERS.get("ClassBalancedSampler") is not None
    assert PARENT.get("ClassBalancedSampler") is None  # new names go into mmseg's own registry


class Recorder(BaseModel):
    """Remembers which images it met."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.met = []

    def forward(self, inputs, data_samples, mode):
        self.met += [os.path.basename(sample.img_path) for sample in data_samples]
        return dict(loss=self.weight.sum())


def images_met(root, stats, work_dir, train_cfg, checkpoint, resume_from=None, batch_size=3):
    pipeline = [
        dict(type="LoadStreetImage"),
        dict(type="LoadColorMaskAnnotations"),
        dict(type="ClassAwareCrop", crop_size=(4, 4), statistics=stats),
        dict(type="PackSegInputs"),
    ]
    prefix = dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train")
    dataset = dict(type="CityscapesColorMaskDataset", data_root=str(root), data_prefix=prefix, source="train_ids")
    allow_plain_types()  # mmengine 0.10.7 cannot resume with torch 2.6 or newer without it
    runner = Runner(
        model=Recorder(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type="ClassBalancedSampler", statistics=stats, temperature=0.2),
            dataset=dict(**dataset, pipeline=pipeline),
            collate_fn=dict(type="pseudo_collate"),
        ),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", **checkpoint)),
        default_scope="mmseg",
        randomness=dict(seed=5),
        load_from=resume_from,
        resume=resume_from is not None,
        experiment_name=f"{work_dir.name}-{time.time_ns()}",
    )
    runner.train()
    return runner.model.met


def test_a_resumed_run_draws_what_an_uninterrupted_one_does(root, stats, tmp_path):
    def run(name, epochs, resume_from=None):
        train_cfg = dict(by_epoch=True, max_epochs=epochs)
        return images_met(root, stats, tmp_path / name, train_cfg, dict(interval=1), resume_from)

    whole = run("whole", 3)
    assert len(whole) == 33 and whole[:11] != whole[11:22]
    first = run("first", 1)
    assert first + run("second", 3, str(tmp_path / "first" / "epoch_1.pth")) == whole


def test_a_resumed_run_of_iterations_does_so_too(root, stats, tmp_path, monkeypatch):
    import mmengine.runner.loops as loops

    monkeypatch.setattr(loops, "time", SimpleNamespace(sleep=lambda seconds: None))  # two seconds an epoch, for nothing

    def run(name, iterations, resume_from=None):
        train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=100)
        return images_met(
            root, stats, tmp_path / name, train_cfg, dict(by_epoch=False, interval=6), resume_from, batch_size=4
        )

    whole = run("whole", 10)  # 11 images are two batches of 4 and one of 3: three epochs and one more batch
    assert len(whole) == 37 and whole[:11] != whole[11:22]
    first = run("first", 6)
    again = run("second", 10, str(tmp_path / "first" / "iter_6.pth"))
    assert first + again[-15:] == whole
