"""The command lines, as a user runs them."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import ROOT

from cityseg_ext.apis.report_record import read_record

SMALL = [
    *("--image-size", "64", "128", "--num-workers", "0", "--device", "cpu", "--cfg-options"),
    *("model.backbone.base_channels=8", "model.backbone.stem_channels=8"),
    *("model.decode_head.in_channels=64", "model.decode_head.channels=8"),
    *("model.auxiliary_head.in_channels=32", "model.auxiliary_head.channels=8"),
]
CONFIG = "configs/deeplabv3_r18_focaldice.py"


def run(script, *options, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / script), *map(str, options)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        timeout=300,
    )


def test_two_processes_train_and_score_as_one(tiny_city, tmp_path):
    def two(script, *options):
        command = [str(ROOT / "tools" / script), *map(str, options)]
        environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)

    data = ["--data-root", tiny_city, "--work-dir", tmp_path / "work"]
    balanced = ["--weighted-sampler", "--class-weight", "enet"]  # the first process counts the classes for both
    options = [*balanced, "--batch-size", "2", "--num-epochs", "1"]
    process = two("dist_train.sh", CONFIG, 2, *data, *options, *SMALL)
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stderr.count("counted now") + process.stdout.count("counted now") == 1
    assert process.stdout.count("Trained for") == 1
    (checkpoint,) = (tmp_path / "work").glob("best_mDice*.pth")
    alone = run("test.py", CONFIG, checkpoint, *data, "--report", *SMALL)
    record = read_record(tmp_path / "work" / "report" / "record.json")
    together = two("dist_test.sh", CONFIG, checkpoint, 2, *data, "--report", *SMALL)
    assert together.returncode == 0, together.stderr[-2000:]
    last = alone.stdout.strip().splitlines()[-1]
    assert last.startswith("mDice") and together.stdout.strip().splitlines().count(last) == 1
    same = replace(read_record(tmp_path / "work" / "report" / "record.json"), provenance=record.provenance)
    assert same == record


def error_of(process):
    assert process.returncode == 2, process.stderr
    return process.stderr.strip().splitlines()[-2]


@pytest.mark.parametrize("script", ["train.py", "test.py", "browse_dataset.py", "check_dataset.py"])
def test_help_explains(script):
    process = run(script, "--help")
    assert process.returncode == 0
    for option in ("--data-root", "--image-size", "--device", "--cfg-options", "--launcher", "--work-dir"):
        assert option in process.stdout


def test_train_then_test(tiny_city, tmp_path):
    work = tmp_path / "work dir"
    process = run(
        *("train.py", CONFIG, "--data-root", tiny_city, "--work-dir", work, "--batch-size", "2", "--num-epochs", "1"),
        *SMALL,
    )
    assert process.returncode == 0, process.stderr
    last = process.stdout.strip().splitlines()[-1]
    assert last.startswith("Trained for") and str(work) in last
    (checkpoint,) = work.glob("best_mDice*.pth")
    process = run(
        *("test.py", CONFIG, checkpoint, "--data-root", tiny_city, "--work-dir", work),
        *("--show-dir", tmp_path / "show", "--tta", *SMALL),
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip().splitlines()[-1].startswith("mDice ")
    assert len(list((tmp_path / "show").rglob("*.png"))) == 3


def test_test_then_report(tiny_city, tmp_path):
    work = tmp_path / "work <b>"
    common = ["--data-root", tiny_city, "--work-dir", work]
    process = run("train.py", CONFIG, *common, "--batch-size", "2", "--num-epochs", "1", *SMALL)
    assert process.returncode == 0, process.stderr
    (checkpoint,) = work.glob("best_mDice*.pth")
    process = run("report.py", work)
    *notes, last = process.stdout.strip().splitlines()
    assert notes[-1].startswith("Note: ") and notes[-1].endswith(f"--work-dir '{work}' --report"), process.stderr
    page = work / "report" / "report.html"
    assert last.startswith(f"Wrote {page}, and its ")
    how = ["--out", tmp_path / "out", "--tta-scales", "1", "0.5", "--slide", "48", "96", "--report"]
    process = run("test.py", CONFIG, checkpoint, *common, *how, *SMALL)
    assert process.returncode == 0, process.stderr
    last = process.stdout.strip().splitlines()[-1]
    assert last.endswith(f"  3 class maps: {tmp_path / 'out'}  report: {page}")
    process = run("report.py", work, "--out", tmp_path / "again")
    assert "Note:" not in process.stdout and process.returncode == 0, process.stderr
    assert (tmp_path / "again" / "report.html").read_bytes() == page.read_bytes()
    message = error_of(run("report.py", tmp_path / "nothing"))
    assert message.startswith("error: Expected `work_dir` to be an existing folder")


def test_browse_writes_panels(tiny_city, tmp_path):
    out = tmp_path / "a folder"
    process = run(
        *("browse_dataset.py", CONFIG, "--data-root", tiny_city, "--num", "2", "--repeat", "2", "--out-dir", out),
        *("--image-size", "64", "128"),
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip().splitlines()[-1] == f"Wrote 4 panels to {out} (at a glance: {out / 'index.png'})"
    assert len(list(out.glob("*.png"))) == 5
    message = error_of(run("browse_dataset.py", CONFIG, "--data-root", tiny_city, "--out", tiny_city))
    assert "to be an empty folder" in message and str(tiny_city) in message


def test_mistakes_end_in_one_line(tiny_city, tmp_path):
    message = error_of(run("train.py", CONFIG, "--data-root", tmp_path / "nowhere", "--work-dir", tmp_path / "w"))
    assert message.startswith("error: Expected `data_root`") and "nowhere" in message
    message = error_of(run("train.py", "configs/none.py"))
    assert "configs/none.py" in message
    message = error_of(run("test.py", CONFIG, tmp_path / "no.pth", "--data-root", tiny_city, "--work-dir", tmp_path))
    assert "no.pth" in message


def test_errors_of_loader_processes_are_short_too(tiny_city, tmp_path):
    import shutil

    city = shutil.copytree(tiny_city, tmp_path / "city")
    photo = sorted((city / "leftImg8bit/train/synth").iterdir())[1]
    photo.write_bytes(photo.read_bytes()[:100])
    message = error_of(
        run(
            *("train.py", CONFIG, "--data-root", city, "--work-dir", tmp_path / "w", "--batch-size", "4"),
            *(["1" if option == "0" else option for option in SMALL]),
        )
    )
    assert message.startswith("error: Expected file") and photo.name in message


def test_quickstart_does_the_whole_job_and_reuses_it(tmp_path):
    options = [
        *("quickstart.py", "--data-root", tmp_path / "data", "--work-dir", tmp_path / "work", "--num-epochs", "1"),
        *("--num-train", "8", "--num-val", "2", *SMALL),
        *("model.decode_head.in_channels=32", "model.auxiliary_head.in_channels=16"),  # the demo has three stages
    ]
    first = run(*options)
    assert first.returncode == 0, first.stderr
    for text in ("mDice", "mIoU", "pixel accuracy", "val loss", "minutes"):
        assert text in first.stdout
    assert (tmp_path / "work" / "curves.png").is_file()
    assert len(list((tmp_path / "work" / "panels").rglob("*.png"))) == 2
    (checkpoint,) = (tmp_path / "work").glob("best*.pth")
    before = checkpoint.stat().st_mtime_ns
    second = run(*options)
    assert second.returncode == 0 and checkpoint.stat().st_mtime_ns == before
    assert second.stdout.splitlines()[-8:] == first.stdout.splitlines()[-8:]
