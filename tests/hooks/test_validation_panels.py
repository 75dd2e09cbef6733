"""Panels of a few validation images for the trackers."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner.base_loop import BaseLoop
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from cityseg_ext.labels import CITYSCAPES_19

HEIGHT, WIDTH = 20, 40


class Photographs:
    """A data set of files that are really there."""

    metainfo = CITYSCAPES_19.metainfo

    def __init__(self, folder, number, width=WIDTH):
        folder.mkdir()
        self.paths = [str(folder / f"{index}, é.png") for index in range(number)]
        for path in self.paths:
            cv2.imencode(".png", np.full((HEIGHT, width, 3), 90, np.uint8))[1].tofile(path)

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(img_path=self.paths[index])

    def sample(self, index, truth=0, pred=1):
        width = cv2.imdecode(np.fromfile(self.paths[index], np.uint8), cv2.IMREAD_COLOR).shape[1]
        sample = SegDataSample(metainfo=dict(img_path=self.paths[index]))
        sample.gt_sem_seg = PixelData(data=torch.full((1, HEIGHT, width), truth))
        sample.pred_sem_seg = PixelData(data=torch.full((1, HEIGHT, width), pred))
        return sample


class Run:
    """As much of a runner as the hook sees; keeps what the visualizer is given."""

    def __init__(self, dataset):
        self.val_dataloader = SimpleNamespace(dataset=dataset)
        self._train_loop = object.__new__(type("Loop", (BaseLoop,), dict(run=None)))
        self.iter = 0
        self.images = []
        self.visualizer = SimpleNamespace(add_image=lambda name, image, step: self.images.append((name, step, image)))

    def validate(self, hook, indices=None):
        dataset = self.val_dataloader.dataset
        self.iter += 100
        hook.before_val_epoch(self)
        for index in range(len(dataset)) if indices is None else indices:
            hook.after_val_iter(self, index, outputs=[dataset.sample(index)])
        hook.after_val_epoch(self)


def hook(**options):
    return HOOKS.build(dict(type="ValidationPanelsHook", **options))


def test_the_same_images_are_drawn_each_time_spread_evenly(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "cityseg_ext.hooks.validation_panels.prediction_panel", lambda sample, *_: drawn.append(sample.img_path)
    )
    run = Run(Photographs(tmp_path / "photographs", 10))
    panels = hook(num_images=4)
    run.validate(panels)
    run.validate(panels, reversed(range(10)))  # the order of a loader does not matter
    assert drawn == [run.val_dataloader.dataset.paths[index] for index in (0, 2, 5, 7, 7, 5, 2, 0)]
    names = [f"validation_panel_{number}" for number in (1, 2, 3, 4)]
    assert [image[:2] for image in run.images] == [(name, step) for step in (100, 200) for name in names]


def test_a_panel_shows_four_pictures_and_is_not_too_wide(tmp_path):
    run = Run(Photographs(tmp_path / "photographs", 1, width=2048))
    run.validate(hook(max_width=800))
    ((_, _, panel),) = run.images
    assert panel.dtype == np.uint8 and 780 < panel.shape[1] <= 800
    palette = CITYSCAPES_19.palette
    middles = [tuple(int(part) for part in panel[21, x]) for x in (100, 300, 500, 700)]
    assert middles == [(90, 90, 90), tuple(palette[0]), tuple(palette[1]), tuple(palette[0])]


@pytest.mark.parametrize(("interval", "steps"), [(1, [100, 200, 300, 400]), (3, [100, 400])])
def test_the_interval_counts_validations(tmp_path, interval, steps):
    run = Run(Photographs(tmp_path / "photographs", 2))
    panels = hook(num_images=1, interval=interval)
    for _ in range(4):
        run.validate(panels)
    assert [step for _, step, _ in run.images] == steps


def test_fewer_images_than_asked_for(tmp_path):
    run = Run(Photographs(tmp_path / "photographs", 2))
    run.validate(hook(num_images=5))
    assert len(run.images) == 2


def test_images_that_another_rank_has_seen_are_there(tmp_path, monkeypatch):
    other, mine = (Run(Photographs(tmp_path / name, 4)) for name in ("other", "mine"))
    other.val_dataloader = mine.val_dataloader
    others = {}
    monkeypatch.setattr("cityseg_ext.hooks.validation_panels.all_gather_object", lambda x: others.update(x) or [x])
    other.validate(hook(), indices=[1, 3, 0])  # 0 is repeated, as samplers do where ranks have unlike shares
    monkeypatch.setattr("cityseg_ext.hooks.validation_panels.all_gather_object", lambda mine: [mine, others])
    mine.validate(hook(), indices=[0, 2])
    assert [name for name, _, _ in mine.images] == [f"validation_panel_{number}" for number in (1, 2, 3, 4)]


def test_a_runner_that_only_validates(tmp_path):
    run = Run(Photographs(tmp_path / "photographs", 1))
    run._train_loop = dict(type="EpochBasedTrainLoop")
    run.validate(hook())
    assert [step for _, step, _ in run.images] == [0]


@pytest.mark.parametrize("options", [dict(num_images=0), dict(interval=0), dict(max_width=100)])
def test_numbers_that_make_no_sense(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` to be at least"):
        hook(**options)
