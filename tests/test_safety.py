"""No tool writes outside its folder, through a link, or over what it reads; none deletes what it did not make."""

import ast
import itertools
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from cityseg_ext.apis import export as export_module
from cityseg_ext.apis.browse import browse
from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.curves import plot_curves
from cityseg_ext.apis.dataset_check import check_dataset
from cityseg_ext.apis.evaluation import evaluate
from cityseg_ext.apis.evaluation_report import check_reports, write_reports
from cityseg_ext.apis.export import export
from cityseg_ext.apis.infer_images import KINDS, infer_images
from cityseg_ext.apis.infer_video import infer_video
from cityseg_ext.apis.mask_conversion import convert_masks
from cityseg_ext.apis.mask_decoder_training import train_mask_decoder
from cityseg_ext.apis.predictor import Prediction
from cityseg_ext.apis.publish import publish
from cityseg_ext.apis.report_html import write_report
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.apis.runs import train
from cityseg_ext.apis.submission import make_submission
from cityseg_ext.apis.synthetic_cityscapes import write_synthetic_cityscapes
from cityseg_ext.apis.synthetic_pairs import write_synthetic_pairs
from cityseg_ext.datasets.quarantine import Quarantine
from cityseg_ext.hooks.write_predictions import WritePredictionsHook
from cityseg_ext.labels import CITYSCAPES_19
from cityseg_ext.shipped import copy_configs


class Road:
    """A model that sees nothing but road."""

    classes, palette = CITYSCAPES_19.classes, CITYSCAPES_19.palette

    def predict(self, photos, keep="class_map"):
        shapes = [photo.shape[:2] for photo in photos]
        number = len(self.classes)
        return [
            Prediction(np.zeros(s, np.uint8), np.ones(s, np.float32), np.ones((number, *s), np.float32)) for s in shapes
        ]


@pytest.fixture
def world(tiny_city, tiny_model, tmp_path):
    config = load_config(tiny_model[0], work_dir=str(tmp_path / "work"), num_workers=0)
    return SimpleNamespace(city=tiny_city, cfg=config, checkpoint=tiny_model[1], tmp=tmp_path, seeds=itertools.count())


def _test(world, out):
    sample = SegDataSample(
        metainfo=dict(img_path=str(next((world.city / "leftImg8bit" / "val").rglob("*.png")))),
        gt_sem_seg=PixelData(data=torch.zeros(1, 64, 128)),
        pred_sem_seg=PixelData(data=torch.ones(1, 64, 128)),
    )
    dataset = SimpleNamespace(
        metainfo=CITYSCAPES_19.metainfo, data_prefix=dict(img_path=str(world.city / "leftImg8bit"))
    )
    hook = WritePredictionsHook(str(out))
    hook.after_test_iter(SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset)), 0, outputs=[sample])


def _log(world):
    log = world.tmp / "run" / "vis_data" / "scalars.json"
    if not log.exists():
        log.parent.mkdir(parents=True)
        log.write_text('{"loss": 1.0, "decode.loss_x": 1.0, "lr": 0.1, "epoch": 1, "iter": 1, "step": 1}\n' * 2)
    return world.tmp / "run"


def _evaluate(world, out):
    truth = world.tmp / "truth"
    if not truth.exists():
        truth.mkdir()
        for path in (world.city / "gtFine" / "val").rglob("*_labelIds.png"):
            shutil.copy(path, truth)
    check_reports(csv=out / "a.csv", json=out / "a.json")
    write_reports(evaluate(truth, truth, pred_type="label_ids", workers=0), csv=out / "a.csv", json=out / "a.json")


def _export(world, out):
    export(world.cfg, world.checkpoint, out / "model.pt2", "torch", overwrite=True)


WRITERS = {
    "infer": lambda world, out: infer_images(
        Road(), str(world.city / "leftImg8bit" / "val"), str(out), list(KINDS), overwrite=True
    ),
    "infer a video": lambda world, out: infer_video(
        Road(), str(next((world.city / "leftImg8bit" / "val").iterdir())), out / "a.gif", fps=5, overwrite=True
    ),
    "test --show-dir": _test,
    "convert_masks": lambda world, out: convert_masks(world.city / "gtFine", out, workers=0, overwrite=True),
    "quickstart's scenes": lambda world, out: write_synthetic_cityscapes(out, 1, 1, 64, 64, next(world.seeds)),
    "synthetic pairs": lambda world, out: write_synthetic_pairs(out, 1, 1, 32, seed=next(world.seeds)),
    "browse_dataset": lambda world, out: browse(world.cfg, num=1, out_dir=str(out)),
    "check_dataset": lambda world, out: check_dataset(world.cfg, out, num_workers=0),
    "plot_logs": lambda world, out: plot_curves([_log(world)], out / "curves.png"),
    "report": lambda world, out: write_report([_log(world)], out),
    "evaluate": _evaluate,
    "cityscapes_submit": lambda world, out: make_submission(world.cfg, world.checkpoint, out, "val", overwrite=True),
    "publish": lambda world, out: publish(world.cfg, world.checkpoint, out, overwrite=True),
    "export": _export,
    "train_mask_decoder": lambda world, out: train_mask_decoder("fast", out / "a.npz", 1, 1, 1, 32),
    "configs --copy-to": lambda world, out: copy_configs(str(out)),
}
"""What writes files of names that are known beforehand; a new tool that writes belongs here too."""


@pytest.fixture
def shortcuts(monkeypatch):
    """What takes long and writes nothing by itself."""
    monkeypatch.setattr(export_module, "_write", lambda _, part, *__: Path(part).write_bytes(b"a model"))
    monkeypatch.setattr(export_module, "check_agreement", lambda *_: None)
    monkeypatch.setattr("cityseg_ext.apis.mask_decoder_training.DamagedPatches", _Patches)
    monkeypatch.setattr("cityseg_ext.apis.submission.Predictor", lambda *_, **__: _Submitting())


class _Patches(torch.utils.data.IterableDataset):
    def __init__(self, num_scenes, size, seed):
        self.size = size

    def __iter__(self):
        yield np.zeros((self.size, self.size, 3), np.uint8), np.zeros((self.size, self.size), np.uint8)


class _Submitting(Road):
    taxonomy = CITYSCAPES_19


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def attempt(writer, world, out):
    """Run a tool; it may refuse, in a sentence."""
    try:
        WRITERS[writer](world, out)
    except (ValueError, OSError) as error:
        assert str(error)


@pytest.mark.parametrize("writer", WRITERS)
def test_links_lead_no_tool_out_of_its_folder(writer, world, shortcuts, tmp_path):
    clean = tmp_path / "clean" / "out"
    clean.mkdir(parents=True)
    WRITERS[writer](world, clean)
    files = [path.relative_to(clean) for path in clean.rglob("*") if path.is_file()]
    assert files
    precious = tmp_path / "precious"
    for number, name in enumerate(files):
        for path in (precious / f"{number}", precious / "folder" / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"of great worth: {name}")
    before = contents(precious)

    linked = tmp_path / "linked"
    for number, name in enumerate(files):
        (linked / name).parent.mkdir(parents=True, exist_ok=True)
        (linked / name).symlink_to(precious / f"{number}")
    attempt(writer, world, linked)
    assert contents(precious) == before

    through = tmp_path / "through"
    through.mkdir()
    for name in files:  # a stamp, say, by which the folder is known as the tool's own
        if len(name.parts) == 1:
            shutil.copy(clean / name, through)
    for name in {name.parts[0] for name in files if len(name.parts) > 1}:
        (through / name).symlink_to(precious / "folder" / name)
    attempt(writer, world, through)
    assert contents(precious) == before

    blocked = tmp_path / "blocked"
    for name in files:
        (blocked / name).mkdir(parents=True)
        (blocked / name / "mine.txt").write_text("mine")
    attempt(writer, world, blocked)
    assert all((blocked / name / "mine.txt").read_text() == "mine" for name in files)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_in_place_of_the_folder_stays(writer, world, shortcuts, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises((ValueError, OSError)) as refused:
        WRITERS[writer](world, tmp_path / "out")
    assert "out" in str(refused.value) and (tmp_path / "out").read_text() == "mine"


def test_a_pattern_with_dots_writes_nothing_beside(world, tmp_path):
    shutil.copytree(next((world.city / "leftImg8bit" / "val").iterdir()), tmp_path / "other")
    (tmp_path / "a" / "photos" / "deep").mkdir(parents=True)
    with pytest.raises(ValueError, match="out of which nothing leads.*lies in"):
        infer_images(Road(), f"{tmp_path}/a/photos/*/../../../other/*.png", str(tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.*")) and not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("call", [train, lambda cfg: run_test(cfg, "none.pth")])
def test_a_config_is_not_replaced_by_its_copy(call, world, tmp_path):
    text = f"# by hand\n_base_ = '{ROOT}/configs/deeplabv3_r18_focaldice.py'\n"
    (tmp_path / "mine.py").write_text(text)
    for work_dir in (".", "linked"):
        (tmp_path / work_dir).mkdir(exist_ok=True)
        if work_dir == "linked":
            (tmp_path / "linked" / "mine.py").symlink_to(tmp_path / "mine.py")
        cfg = load_config(str(tmp_path / "mine.py"), data_root=str(world.city), work_dir=str(tmp_path / work_dir))
        with pytest.raises(ValueError, match="`work_dir` to be a folder where the whole config can be written"):
            call(cfg)
    assert (tmp_path / "mine.py").read_text() == text


def test_a_copy_may_be_written_again(tiny_model, tmp_path):
    shutil.copy(tiny_model[0], tmp_path / "tiny.py")
    cfg = load_config(str(tmp_path / "tiny.py"), work_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="none.pth"):
        run_test(cfg, str(tmp_path / "none.pth"))


def test_checkpoints_that_could_not_be_named_are_told_first(world):
    world.cfg.work_dir = str(world.tmp / os.fsdecode(b"caf\xe9"))
    with pytest.raises(ValueError, match="a name in UTF-8.*PYTHONUTF8=1"):
        train(world.cfg)


def test_bad_samples_are_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("mine\n")
    quarantine = Quarantine()
    quarantine.file = tmp_path / "bad_samples.jsonl"
    quarantine.file.symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="bad_samples.jsonl"):
        quarantine.add("a.png", "cut short")
    assert (tmp_path / "mine").read_text() == "mine\n"


SOURCES = sorted([*(ROOT / "cityseg_ext").rglob("*.py"), *(ROOT / "tools").glob("*.py")])
REMOVERS = {
    "apis/own_folder.py": "files of an earlier call in a folder with our stamp",
    "apis/dataset_statistics.py": "weights of an earlier run, beside our stats.json",
    "apis/video_writer.py": "its own part",
    "hooks/bad_samples.py": "the list of an earlier run",
    "hooks/safe_checkpoint.py": "checkpoints of this run, which with DeepSpeed are folders",
    "whole_file.py": "its own part, and parts that a killed run has left, by their name",
}
"""Where files are deleted, and which; a new place needs its reason here."""


def removals(text):
    """Calls that delete files or folders."""
    names = ("unlink", "rmdir", "removedirs", "rmtree")
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    attributes = [call.func for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in names]
    attributes += [call.func for call in calls if ast.unparse(call.func) == "os.remove"]  # lists have one too
    bare = [call.func for call in calls if isinstance(call.func, ast.Name) and call.func.id in names]
    return [ast.unparse(function) for function in attributes + bare]


def test_files_are_deleted_in_few_places_and_folders_in_one():
    names = {path: str(path.relative_to(ROOT)).removeprefix("cityseg_ext/") for path in SOURCES}
    found = {name: removals(path.read_text()) for path, name in names.items()}
    assert {name for name, calls in found.items() if calls} == set(REMOVERS)
    folders = {name: calls for name, calls in found.items() if any("unlink" not in call for call in calls)}
    assert folders == {"hooks/safe_checkpoint.py": ["self.file_backend.rmtree"]}
    assert removals("import shutil\nshutil.rmtree(x)\nos.remove(y)\nrmtree(z)") == [
        "shutil.rmtree",
        "os.remove",
        "rmtree",
    ]


def test_files_are_opened_for_writing_in_few_places():
    """All else goes through these, which replace links and leave no half files."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name, call = ast.unparse(node.func), ast.unparse(node)
            is_open = name in ("open", "io.open") and any(f"'{mode}" in call for mode in ("w", "a", "x", "r+"))
            if is_open or name.endswith((".write_bytes", ".write_text", "cv2.imwrite", "np.save", "json.dump")):
                found.add(str(path.relative_to(ROOT)))
    names = ("whole_file.py", "hooks/whole_file_backend.py")
    # And what torchrun asks a failing process to write, where it asks for it.
    assert found == {f"cityseg_ext/{name}" for name in names} | {"tools/_ranks.py"}
