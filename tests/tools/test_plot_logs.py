import json
import os
import subprocess
import sys

from conftest import ROOT


def plot(*options, cwd):
    command = [sys.executable, str(ROOT / "tools" / "plot_logs.py"), *map(str, options)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120
    )


def write(work_dir, ending=""):
    file = work_dir / "20260101_000000" / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    lines = [{"lr": 0.1, "decode.loss_ce": 1.0, "epoch": 1, "iter": 5, "step": 5}, {"mDice": 0.5, "step": 5}]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + ending)
    return work_dir


def test_one_run_and_two_runs(tmp_path):
    first, second = write(tmp_path / "a run"), write(tmp_path / "b", ending='{"lr"')
    process = plot(first, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == f"Wrote the curves of 1 run to {first / 'curves.png'}"
    assert (first / "curves.png").stat().st_size > 5000
    process = plot(first, second, "--names", "A", "B", "--by", "step", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    note, last = process.stdout.splitlines()
    assert note.startswith("Note: ") and "cut off" in note
    assert last == "Wrote the curves of 2 runs to curves.png" and (tmp_path / "curves.png").is_file()


def test_a_mistake_ends_in_one_line(tmp_path):
    process = plot("nowhere", cwd=tmp_path)
    assert process.returncode == 2
    assert process.stderr.splitlines()[0] == (
        "error: Expected `run` to be an existing work dir or log file, but got 'nowhere'."
    )


def test_help_explains(tmp_path):
    process = plot("--help", cwd=tmp_path)
    assert process.returncode == 0
    for word in ("RUN", "--out", "--names", "--by", "resumed"):
        assert word in process.stdout
