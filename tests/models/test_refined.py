"""Refinement within a run: whose photograph, which scores, and what it goes together with."""

import mmcv
import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.inference_options import refiner_of
from cityseg_ext.apis.refinement_table import refinement_table
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.labels import CITYSCAPES_19
from cityseg_ext.models import RefinedSegmentor


class Fixed(torch.nn.Module):
    """A segmentor that always predicts the same."""

    def __init__(self, logits, **facts):
        super().__init__()
        self.logits, self.facts = logits, facts

    def test_step(self, data):
        sample = SegDataSample(metainfo=self.facts)
        labels = self.logits.argmax(dim=0, keepdim=True)
        sample.set_data(dict(seg_logits=PixelData(data=self.logits), pred_sem_seg=PixelData(data=labels)))
        return [sample]


@pytest.fixture
def run(tiny_model, tmp_path):
    """Test the tiny model with options; what its config says may be changed."""
    config, checkpoint = tiny_model

    def test(cfg_options=None, **options):
        cfg = load_config(config, work_dir=str(tmp_path / "work"), cfg_options=cfg_options)
        return run_test(cfg, checkpoint, **options).metrics

    return test


def near(metrics, before=""):
    names = ("mDice", "mIoU", "aAcc")
    return pytest.approx([metrics[before + name] for name in names], abs=1e-9)


@pytest.mark.parametrize("options", [dict(), dict(tta=True), dict(slide=[32, 64])])
def test_scores_before_are_those_without(run, options):
    plain, refined = run(**options), run(crf=True, **options)
    assert [plain[name] for name in ("mDice", "mIoU", "aAcc")] == near(refined, "before/")
    table = refinement_table(refined)
    assert "mBoundaryF" in table and "mThinRecall" in table and refinement_table(plain) is None


def test_a_line_of_the_config_is_enough_and_without_weights_nothing_changes(run):
    weights = {"refiner.type": "DenseCRF", "refiner.smooth_weight": 0, "refiner.appearance_weight": 0}
    metrics = run(weights)
    assert [metrics[name] for name in ("mDice", "mIoU", "aAcc")] == near(metrics, "before/")
    assert metrics["mBoundaryF"] == metrics["before/mBoundaryF"]


def test_fields_go_together_with_the_option(run):
    with pytest.raises(ValueError, match="`backend`"):
        run({"refiner.backend": "cuda"}, crf=True)


def test_a_config_without_refiner():
    cfg = load_config(str(ROOT / "configs" / "unet29_128.py"))
    assert refiner_of(cfg) is None
    assert refiner_of(cfg, crf=True) == dict(type="DenseCRF")


@pytest.mark.parametrize("tta", [False, True])
def test_in_image_pairs_the_refiner_sees_the_photograph(tiny_pairs, tmp_path, monkeypatch, tta):
    seen = []

    def refine(self, image, probabilities):
        seen.append(image)
        return probabilities

    monkeypatch.setattr("cityseg_ext.refiners.DenseCRF.__call__", refine)
    monkeypatch.chdir(ROOT)
    options = {"test_dataloader.dataset.img_suffix": ".png", "model.backbone.base_channels": 4}
    options |= {"model.decode_head.in_channels": 4, "model.decode_head.channels": 4}
    options |= {"model.auxiliary_head.in_channels": 8, "model.auxiliary_head.channels": 4}
    cfg = load_config(
        "configs/unet_pairs_256.py",
        data_root=str(tiny_pairs),
        work_dir=str(tmp_path / "work"),
        image_size=(32, 32),  # the network sees a smaller one
        num_workers=0,
        cfg_options=options,
    )
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "a.pth")
    run_test(cfg, str(tmp_path / "a.pth"), crf=True, tta=tta)
    for image, path in zip(seen, sorted((tiny_pairs / "val").glob("*.png")), strict=True):
        np.testing.assert_array_equal(image, mmcv.imread(str(path), channel_order="rgb")[:, :40])


def test_a_photograph_of_another_size(tiny_city):
    path = next((tiny_city / "leftImg8bit" / "val").rglob("*.png"))
    model = RefinedSegmentor(Fixed(torch.zeros(2, 8, 8), img_path=str(path)), dict(type="DenseCRF"))
    with pytest.raises(ValueError, match=f"{path.name}.*\\(64, 128\\)"):
        model.test_step({})


def test_results_are_log_probabilities(tiny_city):
    path = next((tiny_city / "leftImg8bit" / "val").rglob("*.png"))
    logits = torch.randn(CITYSCAPES_19.num_classes, 64, 128) * 200  # probabilities of exactly 0 and 1
    (sample,) = RefinedSegmentor(Fixed(logits, img_path=str(path)), dict(type="DenseCRF")).test_step({})
    assert sample.seg_logits.data.isfinite().all()
    torch.testing.assert_close(sample.seg_logits.data.exp().sum(dim=0), torch.ones(64, 128))
    assert torch.equal(sample.pred_sem_seg.data[0], sample.seg_logits.data.argmax(dim=0))
    assert torch.equal(sample.unrefined_logits.data, logits)
