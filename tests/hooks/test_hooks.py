import io
import logging
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from rich.console import Console

from cityseg_ext.labels import CITYSCAPES_19


def terminal(width=100):
    return Console(file=io.StringIO(), force_terminal=True, width=width)


def runner(**fields):
    stream = logging.StreamHandler(io.StringIO())
    logger = logging.Logger("test")
    logger.addHandler(stream)
    return SimpleNamespace(logger=logger, max_iters=4, iter=0, epoch=0, max_epochs=2, **fields)


def test_the_bar_counts_and_lets_log_lines_pass():
    console, run = terminal(), runner()
    hook = HOOKS.build(dict(type="ProgressBarHook", console=console))
    original = run.logger.handlers[0].stream
    hook.before_train(run)
    for _ in range(4):
        hook.after_train_iter(run, 0, outputs=dict(loss=torch.tensor(0.25)))
    run.logger.warning("a log line")
    hook.after_train(run)
    text = console.file.getvalue()
    assert "4/4" in text and "loss 0.250" in text and "a log line" in text
    assert run.logger.handlers[0].stream is original


def test_no_bar_where_output_is_not_a_terminal():
    console, run = Console(file=io.StringIO()), runner()
    hook = HOOKS.build(dict(type="ProgressBarHook", console=console))
    hook.before_train(run)
    hook.after_train_iter(run, 0, outputs={})
    hook.after_train(run)
    assert console.file.getvalue() == ""


@pytest.fixture
def tested(tmp_path):
    """A run over two photographs in two cities that have the same name."""
    samples = []
    for city in ("bonn", "ulm"):
        path = tmp_path / "leftImg8bit" / city / "a.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((40, 60, 3), (255, 0, 0), np.uint8))  # blue, as OpenCV orders channels
        sample = SegDataSample(metainfo=dict(img_path=str(path)))
        sample.pred_sem_seg = PixelData(data=torch.full((1, 40, 60), CITYSCAPES_19.classes.index("rider")))
        sample.gt_sem_seg = PixelData(data=torch.full((1, 40, 60), 255))
        samples.append(sample)
    dataset = SimpleNamespace(data_prefix=dict(img_path=str(tmp_path / "leftImg8bit")), metainfo=CITYSCAPES_19.metainfo)
    return samples, runner(test_dataloader=SimpleNamespace(dataset=dataset))


def test_every_image_gets_its_picture_in_its_folder(tested, tmp_path):
    samples, run = tested
    hook = HOOKS.build(
        dict(type="WritePredictionsHook", show_dir=str(tmp_path / "show"), out_dir=str(tmp_path / "out"))
    )
    hook.before_test(run)
    hook.after_test_iter(run, 0, outputs=samples)
    hook.after_test(run)
    assert run.logger.handlers[0].stream.getvalue().count("Wrote 2 ") == 2
    for folder in ("show", "out"):
        assert sorted(str(path.relative_to(tmp_path / folder)) for path in (tmp_path / folder).rglob("*.png")) == [
            "bonn/a.png",
            "ulm/a.png",
        ]
    assert (cv2.imread(str(tmp_path / "out/ulm/a.png"), cv2.IMREAD_UNCHANGED) == 12).all()


def test_a_full_disk_leaves_the_picture_that_was_there(tested, tmp_path, monkeypatch):
    samples, run = tested
    hook = HOOKS.build(dict(type="WritePredictionsHook", out_dir=str(tmp_path / "out")))
    hook.after_test_iter(run, 0, outputs=samples[:1])
    before = (tmp_path / "out/bonn/a.png").read_bytes()

    def write_half(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left"):
        hook.after_test_iter(run, 0, outputs=samples[:1])
    assert [path.name for path in (tmp_path / "out/bonn").iterdir()] == ["a.png"]
    assert (tmp_path / "out/bonn/a.png").read_bytes() == before


def test_red_and_blue_are_where_they_belong(tested, tmp_path):
    samples, run = tested
    hook = HOOKS.build(dict(type="WritePredictionsHook", show_dir=str(tmp_path / "show")))
    hook.after_test_iter(run, 0, outputs=samples[:1])
    panel = cv2.imread(str(tmp_path / "show/bonn/a.png"))[..., ::-1]  # RGB
    middle = panel[40]
    assert tuple(middle[30]) == (0, 0, 255)  # the photograph is blue
    assert tuple(middle[66 + 30]) == (0, 0, 0)  # the truth is void
    assert tuple(middle[132 + 30]) == (255, 0, 0)  # riders are red


def test_loss_parts_are_named_after_their_head():
    def loss(value):
        module = torch.nn.Identity()
        module.parts = {"focal": torch.tensor(value)}
        return module

    def head(value):
        module = torch.nn.Module()
        module.loss_decode = loss(value)
        return module

    model = torch.nn.Module()
    model.decode_head = head(1.0)
    model.auxiliary_head = torch.nn.ModuleList([head(2.0), head(3.0)])
    logged = {}
    hub = SimpleNamespace(update_scalar=logged.__setitem__)
    run = SimpleNamespace(model=model, message_hub=hub)
    hook = HOOKS.build(dict(type="LossPartsHook"))
    hook.before_train(run)
    hook.after_train_iter(run, 0)
    assert logged == {"train/decode.focal": 1.0, "train/aux_0.focal": 2.0, "train/aux_1.focal": 3.0}


def test_channels_last_changes_the_layout_and_nothing_else():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 3)).eval()
    images = torch.randn(2, 3, 9, 7)
    before, keys = model(images), list(model.state_dict())
    HOOKS.build(dict(type="ChannelsLastHook")).before_run(SimpleNamespace(model=model))
    assert model[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert model(images).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images), before)
    assert list(model.state_dict()) == keys
