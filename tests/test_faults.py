"""Faults that belong to no single module; docs/reliability.md has the table of all."""

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, TINY
from mmseg.registry import DATASETS
from toy_runs import toy_runner

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.mask_conversion import convert_masks
from cityseg_ext.apis.runs import train
from cityseg_ext.apis.synthetic_cityscapes import write_synthetic_cityscapes
from cityseg_ext.apis.synthetic_pairs import write_synthetic_pairs
from cityseg_ext.labels import IGNORE_INDEX


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setattr("mmengine.config.Config.pretty_text", "")  # takes longer than all the rest


def config(root, work_dir, name="deeplabv3_r18_focaldice", **options):
    options = dict(image_size=(64, 64), batch_size=2, num_workers=0, num_epochs=1, cfg_options=TINY) | options
    return load_config(str(ROOT / "configs" / f"{name}.py"), data_root=str(root), work_dir=str(work_dir), **options)


def test_fewer_images_than_a_batch(tmp_path):
    root = write_synthetic_cityscapes(tmp_path / "city", train=3, val=1, height=64, width=64)
    with pytest.raises(ValueError, match=r"train_dataloader.batch_size` to be so small.* got 4 for 3 images on 1 proc"):
        train(config(root, tmp_path / "work", batch_size=4))


def test_an_epoch_that_leaves_one_image_over_a_class_alone_and_void_alone(tmp_path):
    """Three images in batches of two, one of them void only, one of a single class; and a last batch of one."""
    root = write_synthetic_cityscapes(tmp_path / "city", train=3, val=1, height=64, width=64)
    masks = sorted((root / "gtFine" / "train").rglob("*_color.png"))
    for path, color in zip(masks, ((0, 0, 0), (128, 64, 128)), strict=False):
        cv2.imwrite(str(path), np.full((64, 64, 3), color, np.uint8))
    result = train(config(root, tmp_path / "work"))
    state = torch.load(result.checkpoint, weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


def test_no_pipeline_invents_a_class(tmp_path, tiny_city):
    """Resized, cropped, flipped, photometrically distorted: labels are those that the files have."""
    dataset = DATASETS.build(config(tiny_city, tmp_path).train_dataloader.dataset)
    there = {IGNORE_INDEX}
    for path in (tiny_city / "gtFine" / "train").rglob("*_labelIds.png"):
        there |= {dataset_index(value) for value in np.unique(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))}
    for _ in range(5):
        for sample in dataset:
            assert set(sample["data_samples"].gt_sem_seg.data.unique().tolist()) <= there


def dataset_index(number):
    from cityseg_ext.labels import CITYSCAPES_19

    return CITYSCAPES_19.id_to_index.get(int(number), IGNORE_INDEX)


def test_swapped_halves_are_told_and_not_guessed_at(tmp_path):
    """The robust decoder would find some class for every pixel of a photograph."""
    pairs = write_synthetic_pairs(tmp_path / "pairs", train=1, val=1, size=128)
    for path in pairs.rglob("*.jpg"):
        pixels = cv2.imread(str(path))
        cv2.imwrite(str(path), np.hstack([pixels[:, 128:], pixels[:, :128]]))
    report = convert_masks(pairs, tmp_path / "masks", source="pairs", workers=0, effort="fast")
    assert len(report.corrupt) == 2
    assert all(
        "a picture like a photograph. Is the mask in the other half?" in text for text in report.corrupt.values()
    )
    right = convert_masks(pairs, tmp_path / "masks", source="pairs", half="left", workers=0, effort="fast")
    assert not right.corrupt


def test_nan_in_one_weight_ends_the_run_and_reaches_no_checkpoint_after_it(tmp_path):
    runner = toy_runner(tmp_path)
    with torch.no_grad():
        runner.model.layers[0].weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="3 "):
        runner.train()
    assert not runner.optim_wrapper.optimizer.state  # no update was made
    assert not list(tmp_path.glob("*.pth"))


def test_validation_changes_nothing(tmp_path):
    """Weights, BatchNorm statistics and random numbers are those of a run that never validates."""
    weights = []
    for number, parts in enumerate(({}, dict.fromkeys(("val_dataloader", "val_evaluator", "val_cfg")))):
        runner = toy_runner(tmp_path / str(number), param_scheduler=[], checkpoint=dict(save_best=None), **parts)
        runner.train()
        weights.append(runner.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
