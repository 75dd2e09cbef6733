"""A drive along a synthetic street, and the quick start's video of it."""

from functools import partial

import numpy as np
from mmengine.config import Config

from cityseg_ext.apis import quickstart
from cityseg_ext.apis.synthetic_cityscapes import scene_seeds
from cityseg_ext.apis.synthetic_drive import SyntheticDrive
from cityseg_ext.apis.video_writer import count_frames
from cityseg_ext.functional.synthetic import render_scene


def test_the_camera_moves_along_a_street_that_no_data_set_holds():
    drive = SyntheticDrive(frames=3, fps=4, speed=8, height=64, width=96)
    frames = list(drive)
    assert [frame.seconds for frame in frames] == [0, 0.25, 0.5] and len(frames) == drive.promised
    used = {seed for _, _, seed in scene_seeds(10_000, 10_000, seed=0)}
    assert drive.seed not in used
    for frame, metres in zip(frames, (0, 2, 4), strict=True):
        np.testing.assert_array_equal(frame.image, render_scene(drive.seed, 64, 96, camera=metres).photo)


def test_the_quick_start_films_its_model(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "SyntheticDrive", partial(SyntheticDrive, frames=3, height=64, width=128))
    config, checkpoint = tiny_model
    cfg = Config.fromfile(config)
    cfg.work_dir = str(tmp_path)
    for _ in range(2):  # the second time it is replaced
        assert count_frames(quickstart.film_drive(cfg, checkpoint)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["drive.gif"]
