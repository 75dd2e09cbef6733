import os
import subprocess
import sys
import zipfile

from conftest import ROOT


def run(*options):
    command = [sys.executable, str(ROOT / "tools" / "cityscapes_submit.py"), *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_val_is_predicted_checked_zipped_and_scored(tiny_model, tiny_city, tmp_path):
    out = tmp_path / "my maps"
    process = run(tiny_model[1], "--split", "val", "--out", out, "--data-root", tiny_city, "--device", "cpu")
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert "| road " in process.stdout and "mean" in process.stdout
    assert lines[-1].startswith(f"3 label maps in {out} (3 new), checked; zip: {out}.zip (0.0 MB, sha256 ")
    assert len(zipfile.ZipFile(f"{out}.zip").namelist()) == 3
    checked = run("--check", f"{out}.zip")
    assert checked.returncode == 1 and "error: wrong number of images" in checked.stdout
    assert not checked.stderr


def test_mistakes_end_in_one_line(tmp_path):
    process = run("--check", tmp_path / "none.zip")
    assert process.returncode == 2 and process.stderr.startswith("error: Expected `check` to be")
    assert len(process.stderr.strip().splitlines()) == 2 and not process.stdout
