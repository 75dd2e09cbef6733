"""Exported files compute what the model computes, in sizes that the export has not seen."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, TINY
from mmseg.structures import SegDataSample

from cityseg_ext.apis import export as module
from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.export import METADATA_FILE, export
from cityseg_ext.apis.export_check import check_agreement, predict_logits
from cityseg_ext.apis.export_model import ExportedModel
from cityseg_ext.apis.segmentor import build_segmentor
from cityseg_ext.labels import CITYSCAPES_19

SMALL_UNET = {
    "model.backbone.base_channels": 4,
    "model.decode_head.in_channels": 4,
    "model.decode_head.channels": 4,
    "model.auxiliary_head.in_channels": 8,
    "model.auxiliary_head.channels": 4,
}


def config(name, **options):
    return load_config(str(ROOT / "configs" / f"{name}.py"), image_size=(64, 128), cfg_options=options)


def varied(cfg):
    """A segmentor whose outputs differ from place to place and class to class."""
    torch.manual_seed(0)
    model = build_segmentor(cfg)
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 1.5)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model


def save(model, path):
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope="module")
def deeplab():
    return config("deeplabv3_r18_focaldice", **TINY)


@pytest.fixture(scope="module")
def exported(deeplab, tmp_path_factory):
    """A file with logits, written before any other export of this process."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("a folder")
    model = varied(deeplab)
    return model, export(deeplab, save(model, folder / "weights.pth"), folder / "ü model.onnx", output="logits")


def run_onnx(path, images):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": images})[0]


def images(batch, height, width):
    return np.random.default_rng(height).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def test_onnx_is_the_model_also_after_a_second_export(exported, tmp_path):
    model, result = exported
    assert result.agreement.equal > 0.999 and len(result.agreement.sizes) == 3
    unet = config("unet_ce", **SMALL_UNET)
    second = export(unet, save(varied(unet), tmp_path / "unet.pth"))  # padded to multiples of 16 inside the file
    assert second.path == tmp_path / "unet.onnx" and second.agreement.equal > 0.999
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["unet.onnx", "unet.pth"]
    found = run_onnx(second.path, images(1, 70, 83))
    assert found.shape == (1, 70, 83) and found.dtype == np.uint8 and len(np.unique(found)) > 1
    for batch in (1, 2):
        for size in ((65, 131), (100, 90), (200, 77)):
            expected = predict_logits(model, images(batch, *size))
            np.testing.assert_allclose(run_onnx(result.path, images(batch, *size)), expected, atol=1e-4)


def test_the_file_says_what_it_is(exported):
    onnx = pytest.importorskip("onnx")
    _, result = exported
    loaded = onnx.load(result.path)
    facts = {entry.key: entry.value for entry in loaded.metadata_props}
    assert facts == facts | result.metadata
    assert json.loads(facts["classes"]) == list(CITYSCAPES_19.classes)
    assert json.loads(facts["palette"]) == [list(color) for color in CITYSCAPES_19.palette]
    assert (facts["image_size"], facts["keep_ratio"], facts["config"]) == (
        *("[64, 128]", "true"),
        "deeplabv3_r18_focaldice.py",
    )
    assert {entry.domain: entry.version for entry in loaded.opset_import}[""] == module.OPSET
    dimensions = [part.dim_param for part in loaded.graph.input[0].type.tensor_type.shape.dim]
    assert dimensions[:3] == ["batch", "height", "width"]


def test_the_stand_alone_script_needs_nothing_of_this_package(exported, tmp_path):
    _, result = exported
    script = tmp_path / "copied.py"
    script.write_text((ROOT / "tools" / "run_onnx.py").read_text())
    photo = images(1, 150, 260)[0]
    cv2.imwrite(str(tmp_path / "a b.png"), photo[..., ::-1])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*options):
        command = [sys.executable, "-I", script, result.path, "a b.png", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120)

    process = run()
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "Wrote 2 files to predictions"
    classes = cv2.imread(str(tmp_path / "predictions" / "a b_classes.png"), cv2.IMREAD_UNCHANGED)
    # The same by OpenCV and mmseg: fitted into 64x128, predicted, and brought back.
    fitted = cv2.resize(photo, (111, 64), interpolation=cv2.INTER_LINEAR)
    logits = torch.from_numpy(predict_logits(exported[0], fitted[None]))
    expected = torch.nn.functional.interpolate(logits, size=(150, 260), mode="bilinear")[0].argmax(0).numpy()
    assert (classes == expected).mean() > 0.98
    overlay = cv2.imread(str(tmp_path / "predictions" / "a b_overlay.png"))[..., ::-1]
    colored = np.array(CITYSCAPES_19.palette)[classes]
    np.testing.assert_allclose(overlay, (photo.astype(float) + colored) / 2, atol=1)
    again = run()
    assert again.returncode == 2 and "--overwrite" in again.stderr and "Traceback" not in again.stderr
    (tmp_path / "a b.png").write_bytes((tmp_path / "a b.png").read_bytes()[:200])
    broken = run("--overwrite")
    assert broken.returncode == 2 and broken.stderr.startswith("error: Expected 'a b.png' to be a photograph, but: ")


def test_pytorchs_own_format(deeplab, tmp_path):
    cfg = config("deeplabv3_r18_focaldice", **TINY, **{"model.data_preprocessor.bgr_to_rgb": False})
    model = varied(cfg)
    result = export(cfg, save(model, tmp_path / "w.pth"), format="torch", output="probabilities")
    facts = {METADATA_FILE: ""}
    loaded = torch.export.load(result.path, extra_files=facts).module()
    assert json.loads(facts[METADATA_FILE]) == result.metadata
    found = loaded(torch.from_numpy(images(3, 81, 97))).numpy()
    expected = torch.from_numpy(predict_logits(model, images(3, 81, 97))).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(FileExistsError, match=r"'.*w.pt2'.*--overwrite"):
        export(cfg, str(tmp_path / "w.pth"), format="torch")


@pytest.mark.parametrize("size", [(64, 96), (70, 83)])
@pytest.mark.parametrize("name", ["deeplabv3_r18_focaldice", "unet_ce"])
def test_the_exported_model_is_mmsegs_prediction(name, size):
    cfg = config(name, **(SMALL_UNET if name == "unet_ce" else TINY))
    model, photos = varied(cfg), images(2, *size)
    samples = [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size)) for _ in photos]
    bgr = [torch.from_numpy(photo[..., ::-1].transpose(2, 0, 1).copy()) for photo in photos]
    with torch.no_grad():
        predicted = model.test_step(dict(inputs=bgr, data_samples=samples))
        logits, classes = (ExportedModel(model, output)(torch.from_numpy(photos)) for output in ("logits", "class_map"))
    for index, sample in enumerate(predicted):
        torch.testing.assert_close(logits[index], sample.seg_logits.data, atol=1e-5, rtol=1e-5)
        assert (classes[index] == sample.pred_sem_seg.data[0]).all()


@pytest.mark.parametrize("output", ["class_map", "logits", "probabilities"])
def test_a_file_that_computes_something_else_is_not_kept(output, deeplab, tmp_path, monkeypatch):
    model = varied(deeplab)
    other = varied(deeplab)
    with torch.no_grad():
        other.decode_head.conv_seg.bias[3] += 5

    def run(images):
        with torch.no_grad():
            return ExportedModel(other, output)(torch.from_numpy(images)).numpy()

    monkeypatch.setattr("cityseg_ext.apis.export_check._torch", lambda path: run)
    with pytest.raises(ValueError, match=f"within .* of the model's {output}, but got a difference"):
        check_agreement(model, tmp_path / "a.pt2", output, 64)
    monkeypatch.setattr(module, "_write", lambda model, path, *_: path.write_bytes(b"model"))
    with pytest.raises(ValueError, match="it was not kept"):
        export(deeplab, save(model, tmp_path / "w.pth"), format="torch", output=output)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(format="onnxx"), "`format` to be one of .*Did you mean 'onnx'"),
        (dict(output="logit"), "`output` to be one of .*Did you mean 'logits'"),
        (dict(out="a.onnx", format="torch"), "`out` to be a file .*pt2 for format 'torch'"),
    ],
)
def test_mistakes(options, message, deeplab):
    with pytest.raises(ValueError, match=message):
        export(deeplab, "no.pth", **options)


def test_models_of_other_kinds_are_refused():
    fixed = config("unet_ce", **SMALL_UNET)
    fixed.model.data_preprocessor.test_cfg = dict(size=(64, 64))
    with pytest.raises(ValueError, match="test_cfg` to be without `size`"):
        ExportedModel(build_segmentor(fixed), "logits")


def test_without_onnx(deeplab, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"onnx, onnxscript, onnxruntime are not installed.*cityseg_ext\[export\]"):
        export(deeplab, "no.pth")
