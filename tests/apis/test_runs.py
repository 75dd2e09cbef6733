"""Training and testing in this process, on a model of a few thousand weights."""

import io
import json
import math
from pathlib import Path

import cv2
import pytest
import torch
from conftest import ROOT, TINY
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmseg.registry import HOOKS
from rich.console import Console
from rich.file_proxy import FileProxy

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.curves import plot_curves
from cityseg_ext.apis.find_config import find_config
from cityseg_ext.apis.inference_options import set_slide
from cityseg_ext.apis.report_record import read_record
from cityseg_ext.apis.run_log import read_run
from cityseg_ext.apis.runner import build_runner
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.apis.runs import train
from cityseg_ext.apis.segmentor import build_segmentor


@pytest.fixture
def config(tiny_city, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def make(name="deeplabv3_r18_focaldice", epochs=1, **options):
        return load_config(
            f"configs/{name}.py",
            data_root=str(tiny_city),
            work_dir=str(tmp_path / "work"),
            image_size=(64, 128),
            batch_size=2,
            num_epochs=epochs,
            num_workers=0,
            cfg_options=TINY | options,
        )

    return make


def validation_lines(result):
    return [line for line in map(json.loads, result.scalars.read_text().splitlines()) if "mDice" in line]


def test_train_resume_and_test(config, tmp_path):
    first = train(config())
    assert first.checkpoint.is_file() and first.scalars.is_file()
    (log,) = first.work_dir.glob("*/*.log")
    assert "Backbone weights at the start: random, trained from scratch" in log.read_text()
    (line,) = validation_lines(first)
    assert math.isfinite(line["val/loss"]) and 0 <= line["mDice"] <= 1
    assert line["val/loss"] == pytest.approx(1.5 * line["val/focal"] + line["val/dice"], rel=1e-6)

    metrics = run_test(config(), str(first.checkpoint), str(tmp_path / "show"), str(tmp_path / "out")).metrics
    for name in ("mDice", "mIoU", "aAcc", "val/loss"):
        assert metrics[name] == pytest.approx(line[name], rel=1e-6)
    names = {f"synth/synth_000000_{index:06d}_leftImg8bit.png" for index in range(3)}
    for folder in ("show", "out"):
        found = {str(path.relative_to(tmp_path / folder)) for path in (tmp_path / folder).rglob("*.*")}
        assert found == names

    second = train(config(epochs=2), resume="auto")
    (line,) = validation_lines(second)
    assert line["step"] == 4  # iterations: two epochs of two


def test_both_terms_are_logged_and_counted_once(config):
    result = train(config())
    for line in map(json.loads, result.scalars.read_text().splitlines()):
        if "decode.loss_focaldice" in line:
            assert line["loss"] == pytest.approx(line["decode.loss_focaldice"] + line["aux.loss_focaldice"], rel=1e-5)
            decode = 1.5 * line["decode.focal"] + line["decode.dice"]
            assert line["decode.loss_focaldice"] == pytest.approx(decode, rel=1e-5)
            aux = 0.4 * (1.5 * line["aux.focal"] + line["aux.dice"])
            assert line["aux.loss_focaldice"] == pytest.approx(aux, rel=1e-5)
            break
    else:
        raise AssertionError("no training line in the log")


def test_the_baseline_has_a_validation_loss_too(config):
    (line,) = validation_lines(train(config("deeplabv3_r18_ce")))
    assert math.isfinite(line["val/loss"]) and "val/dice" not in line


def test_validation_losses_are_logged_as_they_are(config):
    """mmengine would log the mean of the last ten values of whatever is called a loss."""
    lines = validation_lines(train(config(epochs=3)))
    assert len(lines) == 3
    for line in lines:
        assert line["val/loss"] == pytest.approx(1.5 * line["val/focal"] + line["val/dice"], rel=1e-6)


def test_the_plateau_follows_the_validation_loss(config):
    # Nothing improves by half at this learning rate, so that patience 0 halves it after the second validation.
    options = {"optim_wrapper.optimizer.lr": 1e-12, "param_scheduler.1.patience": 0, "param_scheduler.1.eps": 0}
    options["param_scheduler.1.threshold"] = 0.5
    result = train(config(epochs=3, **options))
    rates = [line["lr"] for line in map(json.loads, result.scalars.read_text().splitlines()) if "lr" in line]
    assert rates[-1] == pytest.approx(0.5 * 1e-12)


def test_tta_merges_the_flipped_copy(config):
    result = train(config())
    plain = run_test(config(), str(result.checkpoint)).metrics
    flipped = run_test(config(), str(result.checkpoint), tta=True).metrics
    assert set(flipped) >= {"mDice", "val/loss"} and flipped["val/loss"] != plain["val/loss"]


def test_tta_knows_weights_by_name(config):
    checkpoint = str(train(config()).checkpoint)
    again = config(**{"model.decode_head.loss_decode.class_weight": "enet"})  # not counted in a test
    assert run_test(again, checkpoint, tta=True).metrics["val/loss"] > 0


def test_tta_takes_scales(config):
    checkpoint = str(train(config()).checkpoint)
    flipped, same = (run_test(config(), checkpoint, **how).metrics for how in (dict(tta=True), dict(tta_scales=[1])))
    assert same == flipped
    several = run_test(config(), checkpoint, tta_scales=[0.5, 1.25]).metrics
    assert several["val/loss"] != flipped["val/loss"] and 0 <= several["mDice"] <= 1
    for scales in ([0], [float("inf")], []):
        with pytest.raises(ValueError, match="tta_scales"):
            run_test(config(), checkpoint, tta_scales=scales)


def test_windows(config):
    checkpoint = str(train(config()).checkpoint)
    whole = run_test(config(), checkpoint).metrics
    assert run_test(config(), checkpoint, slide=(64, 128)).metrics == pytest.approx(whole, rel=1e-6)
    assert run_test(config(), checkpoint, slide=(48, 40), tta_scales=[1, 2]).metrics["val/loss"] != whole["val/loss"]
    with pytest.raises(ValueError, match=r"`slide` to be two positive numbers, height and width, but got \[0, 40\]"):
        run_test(config(), checkpoint, slide=(0, 40))
    options = dict(cfg_options={}, data_root=config().data_root)
    with pytest.raises(ValueError, match=r"two positive multiples of 16, height and width, but got \[48, 40\]"):
        set_slide(load_config("configs/unet_ce.py", **options), (48, 40))


def test_a_report_is_kept_and_shown(config, tmp_path):
    result = train(config())
    plain = run_test(config(), str(result.checkpoint))
    assert plain.pictures == 0 and plain.report is None
    tested = run_test(config(), str(result.checkpoint), str(tmp_path / "show"), report=True, command="the command")
    assert tested.metrics == plain.metrics and tested.pictures == 3
    assert tested.report == result.work_dir / "report" / "report.html"
    record = read_record(tested.report.parent / "record.json")
    for name in ("mDice", "mIoU", "aAcc", "mDice_per_image", "val/loss"):
        assert record.scores[name] == tested.metrics[name]
    names = [f"synth/synth_000000_{index:06d}_leftImg8bit.png" for index in range(3)]
    assert [row["name"] for row in record.images] == names
    ranked = sorted(record.images, key=lambda row: (row["mDice"], row["name"]))
    shown = [*record.worst, *reversed(record.best)]
    assert [(row["name"], row["mDice"]) for row in shown] == [(row["name"], row["mDice"]) for row in ranked]
    assert record.provenance["command"] == "the command" and "FocalDiceLoss" in record.provenance["config_text"]
    text = tested.report.read_text()
    assert all(name in text for name in names) and text.count('src="data:image/png') == 9 + 3


def test_the_callers_config_and_that_of_the_training_stay_as_they_are(config, tmp_path):
    cfg = config()
    before = cfg.pretty_text
    result = train(cfg)
    (beside,) = result.work_dir.glob("*.py")
    trained = beside.read_text()
    for _ in range(2):
        run_test(cfg, str(result.checkpoint), str(tmp_path / "show"), tta=True, crf=True)
    assert cfg.pretty_text == before
    assert beside.read_text() == trained and find_config(str(result.checkpoint)) == str(beside)
    tested = max(result.work_dir.glob("*/vis_data/config.py")).read_text()
    assert "DenseCRF" in tested and "DenseCRF" not in trained


def test_curves(config, tmp_path):
    result = train(config(epochs=2))
    log = read_run(result.work_dir)
    assert [row["step"] for row in log.validation] == [2, 4]
    plotted = plot_curves([result.work_dir], tmp_path / "pictures" / "curves.png")
    assert plotted.picture.stat().st_size > 5000 and plotted.notices == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"param_scheduler.1.monitor": "val/los"}, r"monitor` to be one of \['mDice'.*'val/los'\. Did.* 'val/loss'"),
        ({"default_hooks.checkpoint.save_best": "mDise"}, "save_best` to be one of .*Did you mean 'mDice'"),
        (
            {"custom_hooks": [dict(type="EarlyStoppingHook", monitor="val/lss", rule="less")]},
            "EarlyStoppingHook.monitor` .*'val/lss'",
        ),
        ({"model.decode_head.num_classes": 18}, r"model.decode_head.num_classes` to be 19.*but got 18.*Set it to 19"),
        ({"model.auxiliary_head.num_classes": 18}, "model.auxiliary_head.num_classes` to be 19"),
        (
            {"model.decode_head.loss_decode.class_weight": [1.0, 2.0]},
            r"loss_decode.class_weight` to be 19 weights, one a class, but got 2\. The classes are road, ",
        ),
        ({"train_dataloader.dataset.taxonomy": "cityscapes29"}, "num_classes` to be 29.*but got 19"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_told_before_the_first_step(config, monkeypatch, options, message):
    monkeypatch.setattr("mmengine.runner.loops.EpochBasedTrainLoop.run_iter", lambda *_: pytest.fail("a step was made"))
    with pytest.raises(ValueError, match=message):
        train(config(**options))


def test_training_without_validation(config):
    nothing = dict.fromkeys(("val_cfg", "val_dataloader", "val_evaluator"))
    with pytest.raises(ValueError, match=r"monitor` to be one of \[\], but got 'val/loss'.*`val_dataloader`"):
        train(config(**nothing))
    only_warm_up = [dict(type="LinearLR", by_epoch=False, begin=0, end=2)]
    assert train(config(param_scheduler=only_warm_up, **nothing)).checkpoint.name == "epoch_1.pth"


def test_any_default_hook_can_be_switched_off(config):
    hooks = {"fused_upsampling": "FusedUpsamplingHook", "finite_guard": "FiniteGuardHook", "timer": "IterTimerHook"}
    runner = build_runner(config(**{f"default_hooks.{name}": None for name in hooks}))
    names = {type(hook).__name__ for hook in runner.hooks}
    assert not names & set(hooks.values()) and "SafeCheckpointHook" in names


def test_a_run_that_logs_nothing_is_a_run(config):
    """Of few steps, without a validation: there is no log to draw curves of, and the weights are there."""
    nothing = dict.fromkeys(("val_cfg", "val_dataloader", "val_evaluator"))
    steps = dict(train_cfg=dict(_delete_=True, type="IterBasedTrainLoop", max_iters=1), param_scheduler=[])
    seldom = {"default_hooks.logger.interval": 100, "log_processor.by_epoch": False}
    result = train(config(**nothing, **steps, **seldom))
    assert result.checkpoint.is_file() and result.curves is None and not result.scalars.exists()


def test_curves_that_cannot_be_written_do_not_end_a_run(config, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cityseg_ext.apis.curves.write_whole", full)
    result = train(config())
    assert result.checkpoint.is_file() and result.curves is None


@HOOKS.register_module()
class FailsAtOnce(Hook):
    """As a sample that cannot be read, or a full memory."""

    def after_train_iter(self, runner, **_):
        raise RuntimeError("it fails")

    after_test_iter = after_train_iter


@pytest.mark.parametrize("way", ["train", "test"])
def test_a_run_that_fails_leaves_the_terminal_as_it_was(config, way, monkeypatch):
    """A notebook goes on after it: no thread draws a bar then, and log lines go where they went."""
    made = []

    def console(**_):
        made.append(Console(file=io.StringIO(), force_terminal=True))
        return made[-1]

    monkeypatch.setattr("cityseg_ext.hooks.progress_bar.Console", console)
    cfg = config(custom_hooks=[dict(type="FailsAtOnce")])
    if way == "test":
        torch.save(dict(state_dict=build_segmentor(cfg).state_dict()), Path(cfg.work_dir + ".pth"))
    with pytest.raises(RuntimeError, match="it fails"):
        train(cfg) if way == "train" else run_test(cfg, cfg.work_dir + ".pth")
    assert way in made[0].file.getvalue() and made[0].file.getvalue().rstrip().endswith(
        "\x1b[?25h"
    )  # the cursor is back
    streams = [handler.stream for handler in MMLogger.get_current_instance().handlers if hasattr(handler, "stream")]
    assert streams and not any(isinstance(stream, FileProxy) for stream in streams)


def test_early_stopping_on_the_validation_loss(config):
    hook = dict(type="EarlyStoppingHook", monitor="val/loss", rule="less", patience=1, min_delta=1e9)
    result = train(config(epochs=5, custom_hooks=[hook]))
    assert 1 <= len(validation_lines(result)) < 5


def test_weights_that_cannot_be_fetched(config, monkeypatch):
    from urllib.error import URLError

    def offline(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("mmengine.runner.checkpoint.load_url", offline)
    weights = dict(_delete_=True, type="Pretrained", checkpoint="open-mmlab://resnet50_v1c")
    with pytest.raises(FileNotFoundError, match=r"open-mmlab://resnet50_v1c', and no network.*--pretrained none"):
        train(config(**{"model.backbone.init_cfg": weights}))


def test_a_work_dir_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("")
    cfg = config()
    cfg.work_dir = str(tmp_path / "file" / "work")
    with pytest.raises(OSError, match="`work_dir` to be a folder that can be written, but got .*file/work"):
        train(cfg)


def test_a_folder_for_pictures_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="`show_dir` to be a folder that can be written, but got .*file/show"):
        run_test(config(), "any.pth", show_dir=str(tmp_path / "file" / "show"))


def test_a_checkpoint_of_another_model(config, tmp_path):
    torch.save(dict(state_dict={"decode_head.conv_seg.weight": torch.zeros(29, 8, 1, 1)}), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth.*weights are missing.*\(29, 8, 1, 1\) instead of \(19, 8, 1, 1\)"):
        run_test(config(), str(tmp_path / "other.pth"))


@pytest.mark.parametrize("resume", ["nowhere.pth"])
def test_resume_from_nothing(config, resume):
    with pytest.raises(FileNotFoundError, match="`resume` to be an existing file, but got 'nowhere.pth'"):
        train(config(), resume=resume)


def test_29_classes_from_label_ids(config):
    options = {
        f"{name}.dataset.{key}": value
        for name in ("train_dataloader", "val_dataloader", "test_dataloader")
        for key, value in (("source", "label_ids"), ("taxonomy", "cityscapes29"))
    }
    options |= {"model.decode_head.num_classes": 29, "model.auxiliary_head.num_classes": 29}
    (line,) = validation_lines(train(config(**options)))
    assert "IoU/road" in line


def test_image_pairs_of_any_size(tiny_pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = {f"{name}.dataset.img_suffix": ".png" for name in ("train_dataloader", "val_dataloader")}
    options |= {"test_dataloader.dataset.img_suffix": ".png", "model.backbone.base_channels": 4}
    options |= {"model.decode_head.in_channels": 4, "model.decode_head.channels": 4}
    options |= {"model.auxiliary_head.in_channels": 8, "model.auxiliary_head.channels": 4}
    cfg = load_config(
        "configs/unet_pairs_256.py",
        data_root=str(tiny_pairs),
        work_dir=str(tmp_path / "work"),
        image_size=(40, 40),
        batch_size=2,
        num_epochs=1,
        num_workers=0,
        cfg_options=options,
    )
    result = train(cfg)
    (line,) = validation_lines(result)
    metrics = run_test(cfg, str(result.checkpoint), str(tmp_path / "show"), str(tmp_path / "out")).metrics
    assert metrics["val/loss"] == pytest.approx(line["val/loss"], rel=1e-6) and math.isfinite(line["val/loss"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1.png", "2.png"}
    pair, panel = (cv2.imread(str(folder / "1.png")) for folder in (tiny_pairs / "val", tmp_path / "show"))
    assert (panel[20:60, :40] == pair[:, :40]).all() and panel.shape[1] == 4 * 40 + 3 * 6
    averaged = run_test(cfg, str(result.checkpoint), tta=True).metrics
    assert 0 <= averaged["mDice"] <= 1
