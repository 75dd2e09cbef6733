"""Predictions of arrays, against what mmseg's own inference gives."""

import glob

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmcv.image import imread, imwrite
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, inference_model, init_model

from cityseg_ext.apis import predictor as predictor_module
from cityseg_ext.apis.checkpoint import load_weights
from cityseg_ext.apis.logit_rows import window_rows
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.labels import CITYSCAPES_19


@pytest.fixture(scope="module")
def photos(tiny_city):
    return sorted(glob.glob(str(tiny_city / "leftImg8bit" / "val" / "**" / "*.png"), recursive=True))


def rgb(path):
    return np.ascontiguousarray(imread(path)[..., ::-1])


@pytest.fixture
def stock(tiny_model):
    """mmseg's own model from our config."""
    config, checkpoint = tiny_model

    def make(**test_cfg):
        model = init_model(Config.fromfile(config), None, device="cpu")
        load_weights(model, checkpoint)
        if test_cfg:
            model.test_cfg.update(test_cfg)
        return model

    return make


@pytest.mark.parametrize("size", [(64, 128), (41, 97), (200, 90), (1, 1)])
def test_predictions_are_mmsegs(tiny_model, stock, tmp_path, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    imwrite(image[..., ::-1], str(tmp_path / "photo.png"))
    expected = inference_model(stock(), str(tmp_path / "photo.png"))
    (found,) = Predictor(*tiny_model).predict([image], "probabilities")
    assert found.class_map.shape == found.confidence.shape == size
    np.testing.assert_allclose(found.probabilities, expected.seg_logits.data.softmax(dim=0), atol=1e-5)
    np.testing.assert_allclose(found.confidence, found.probabilities.max(axis=0), atol=1e-6)
    assert (found.class_map == expected.pred_sem_seg.data[0].numpy()).mean() > 0.999


def test_arrays_go_through_mmsegs_inference_too(stock, photos):
    """`inference_model` changes the pipeline's first transform for arrays, and removes only its own label loading."""
    by_name = inference_model(stock(), photos[0])
    by_array = inference_model(stock(), imread(photos[0]))
    assert torch.equal(by_name.pred_sem_seg.data, by_array.pred_sem_seg.data)


def test_a_batch_of_mixed_sizes_is_predicted_one_by_one(tiny_model):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 128), (30, 50), (64, 128))]
    predictor = Predictor(*tiny_model)
    together = predictor.predict(images, "confidence")
    for image, found in zip(images, together, strict=True):
        (alone,) = predictor.predict([image], "confidence")
        assert (alone.class_map == found.class_map).mean() > 0.999
        np.testing.assert_allclose(alone.confidence, found.confidence, atol=1e-5)
    assert predictor.predict([]) == []
    assert predictor.classes == CITYSCAPES_19.classes and predictor.palette == CITYSCAPES_19.palette
    assert predictor.taxonomy is CITYSCAPES_19


@pytest.mark.parametrize(("window", "stride"), [((32, 48), (21, 32)), ((64, 128), (32, 64)), ((200, 200), (7, 7))])
def test_windows_are_those_of_slide_inference(stock, window, stride):
    model = stock(mode="slide", crop_size=window, stride=stride)
    image = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.slide_inference(image, [dict(img_shape=(64, 128), ori_shape=(64, 128))])[0]
        bands = list(window_rows(model, image[0], window, stride))
    torch.testing.assert_close(torch.cat(bands, dim=1), expected, atol=1e-5, rtol=1e-5)


def test_what_is_too_large_as_a_whole_is_predicted_in_windows(tiny_model, photos, monkeypatch):
    image = rgb(photos[0])
    expected = Predictor(*tiny_model, slide=(32, 32)).predict([image])[0]
    monkeypatch.setattr(predictor_module, "WHOLE_PIXELS", 64 * 64)
    monkeypatch.setattr(predictor_module, "_WINDOW", 32)
    found = Predictor(*tiny_model).predict([image])[0]
    assert (found.class_map == expected.class_map).mean() > 0.9  # windows of the same size, a little further apart


def test_augmented_copies_are_averaged_as_in_a_test(tiny_model, tiny_city, photos, tmp_path):
    cfg = Config.fromfile(tiny_model[0])
    run_test(cfg, tiny_model[1], out_dir=str(tmp_path), tta_scales=[0.5, 1])
    predictor = Predictor(*tiny_model, tta_scales=[0.5, 1])
    for path in photos:
        written = imread(str(next(tmp_path.rglob(path.rpartition("/")[2]))), flag="unchanged")
        assert (predictor.predict([rgb(path)])[0].class_map == written).mean() > 0.999


def test_half_precision_is_close(tiny_model, photos):
    image = rgb(photos[0])
    full, half = (Predictor(*tiny_model, amp=amp).predict([image], "probabilities")[0] for amp in (False, True))
    np.testing.assert_allclose(half.probabilities, full.probabilities, atol=0.05)


def test_images_of_another_kind_are_refused(tiny_model):
    predictor = Predictor(*tiny_model)
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"Expected `image` to be uint8 of shape \(H, W, 3\), but got"):
            predictor.predict([image])
    with pytest.raises(ValueError, match="of sides that the config's test pipeline can resize, but got 2000x1"):
        predictor.predict([np.zeros((2000, 1, 3), np.uint8)])
    with pytest.raises(ValueError, match="Did you mean 'class_map'"):
        predictor.predict([], "class_maps")


def test_a_model_whose_classes_nobody_names_is_refused(tiny_model, tmp_path):
    config, checkpoint = tiny_model
    loaded = torch.load(checkpoint, weights_only=True)
    loaded["meta"]["dataset_meta"] = dict(classes=["a"], palette=[[0, 0, 0]])
    torch.save(loaded, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="one with 19 classes and colours, as its model has, but got 1 and 1"):
        Predictor(config, str(tmp_path / "other.pth"))
    torch.save(loaded["state_dict"], tmp_path / "plain.pth")
    assert Predictor(config, str(tmp_path / "plain.pth")).taxonomy is CITYSCAPES_19


def test_configs_without_a_work_dir_of_their_own_serve(tiny_model, monkeypatch, tmp_path):
    """A path may be given from anywhere; nothing is written."""
    monkeypatch.chdir(tmp_path)
    Predictor(str(ROOT / "configs" / "deeplabv3_r18_focaldice.py"), _weights_for_r18(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["r18.pth"]


def _weights_for_r18(folder):
    model = init_model(Config.fromfile(str(ROOT / "configs" / "deeplabv3_r18_focaldice.py")), None, device="cpu")
    torch.save(model.state_dict(), folder / "r18.pth")
    return str(folder / "r18.pth")


def test_mmsegs_inferencer_takes_our_configs(tiny_model, photos):
    config, checkpoint = tiny_model
    (expected,) = Predictor(config, checkpoint).predict([rgb(photos[0])])
    found = MMSegInferencer(config, checkpoint, device="cpu")(photos[0])["predictions"]
    assert (found == expected.class_map).mean() > 0.999
