from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from cityseg_ext.hooks import report
from cityseg_ext.labels import CITYSCAPES_19, IGNORE_INDEX


@pytest.fixture
def samples(tmp_path):
    """Seven images; the share of wrong pixels grows with their number, and the last has no label."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(7):
        truth = rng.integers(0, 2, (12, 16))
        if index == 6:
            truth[:] = IGNORE_INDEX
        pred = truth % IGNORE_INDEX
        pred.flat[: 10 * index] = 1 - pred.flat[: 10 * index]
        logits = np.zeros((19, 12, 16), np.float32)
        np.put_along_axis(logits, pred[None], 2.0, 0)
        path = tmp_path / "photos" / "a city" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((12, 16, 3), np.uint8))
        sample = SegDataSample(metainfo=dict(img_path=str(path)))
        sample.seg_logits = PixelData(data=torch.as_tensor(logits))
        sample.pred_sem_seg = PixelData(data=torch.as_tensor(pred)[None])
        sample.gt_sem_seg = PixelData(data=torch.as_tensor(truth)[None])
        found.append(sample)
    return found


def runner(tmp_path):
    dataset = SimpleNamespace(metainfo=CITYSCAPES_19.metainfo, data_prefix=dict(img_path=str(tmp_path / "photos")))
    return SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))


def run_of(run, samples, number=2):
    hook = HOOKS.build(dict(type="ReportHook", num_images=number))
    hook.before_test(run)
    for sample in samples:
        hook.after_test_iter(run, 0, outputs=[sample])
    return hook


def name(index):
    return f"a city/{index}.jpg"


def test_the_best_and_the_worst_are_kept(samples, tmp_path):
    run = runner(tmp_path)
    hook = run_of(run, samples)
    assert len(hook.panels) == 4
    hook.after_test(run)
    assert list(hook.images) == [name(index) for index in range(7)]
    assert [image.name for image in hook.best] == [name(0), name(1)] and hook.best[0].dice == 1
    assert [image.name for image in hook.worst] == [name(5), name(4)]
    assert set(hook.panels) == {name(index) for index in (0, 1, 4, 5)}
    assert hook.images[name(3)].confusion.sum() == 12 * 16 and np.isnan(hook.images[name(6)].mean_dice)
    again = run_of(run, samples[:1])
    again.after_test(run)
    assert [image.name for image in again.worst] == [name(0)] and again.best == []


@pytest.mark.parametrize("number", [1, 2, 4])
def test_ranks_and_order_do_not_matter(samples, tmp_path, monkeypatch, number):
    run = runner(tmp_path)
    alone = run_of(run, samples, number)
    alone.after_test(run)
    # Three ranks; the sampler has repeated the first two images to give all the same number.
    parts = [run_of(run, [*samples, *samples[:2]][rank::3][::-1], number) for rank in range(3)]
    gathered = [(part.images, part.panels) for part in parts]
    monkeypatch.setattr(report, "all_gather_object", lambda _: gathered)
    for part in parts:
        part.after_test(run)
        assert (part.best, part.worst, list(part.images)) == (alone.best, alone.worst, list(alone.images))
        assert part.panels.keys() == alone.panels.keys()
        for image, counts in part.images.items():
            assert (counts.confusion == alone.images[image].confusion).all()
            assert (counts.calibration.confidence == alone.images[image].calibration.confidence).all()


def test_mistakes_are_told(samples, tmp_path):
    run = runner(tmp_path)
    del samples[0].gt_sem_seg
    with pytest.raises(ValueError, match=r"`gt_sem_seg` to be in the data sample of '.*0\.jpg'"):
        run_of(run, samples)
    samples[1].gt_sem_seg.data[0, 0, 0] = 77
    with pytest.raises(ValueError, match=r"77 .*The image is '.*1\.jpg'"):
        run_of(run, samples[1:])
    for options in (dict(num_images=0), dict(max_width=10)):
        with pytest.raises(ValueError, match="at least"):
            HOOKS.build(dict(type="ReportHook", **options))
