"""Launch scripts, and what becomes of a job that loses a process."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, TINY

CONFIG = "configs/deeplabv3_r18_focaldice.py"
SMALL = ["--image-size", "64", "128", "--num-workers", "0", "--batch-size", "2", "--device", "cpu"]
SMALL += ["--cfg-options", *(f"{name}={value}" for name, value in TINY.items())]
LIMIT = 120  # seconds; torch's processes wait for each other for half an hour
ENVIRONMENT = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}


def start(script, *arguments):
    return subprocess.Popen(
        [str(ROOT / "tools" / script), *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process):
    output, _ = process.communicate(timeout=LIMIT)
    return process.returncode, output


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh"])
@pytest.mark.parametrize("arguments", [[], ["config.py"], ["config.py", "--data-root", "data", "2"], ["a", "0", "0"]])
def test_usage_is_told(script, arguments):
    code, output = end(start(script, *arguments))
    assert code == 2 and f"tools/{script} CONFIG " in output and " PROCESSES [options of tools/" in output


def cause(output):
    """The last section of torchrun's report."""
    return re.sub(r"\s+", " ", output.rpartition("Root Cause")[2])


def test_an_error_in_one_process_ends_all(tiny_city, tmp_path):
    city = shutil.copytree(tiny_city, tmp_path / "a city")
    photo = sorted((city / "leftImg8bit/train/synth").iterdir())[1]
    photo.write_bytes(photo.read_bytes()[:100])
    code, output = end(
        start("dist_train.sh", CONFIG, 2, "--data-root", city, "--work-dir", tmp_path / "w", "--num-epochs", 1, *SMALL)
    )
    assert code == 1
    (rank,) = re.findall(r"error on rank (\d): Expected file", output)
    assert f" rank : {rank} " in cause(output)
    assert f"rank {rank}: Expected file '{photo}' to be a readable image" in cause(output)


def process_of(rank, work_dir):
    """The number of the training process of this rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:  # it has gone, or is not ours
            continue
        if str(work_dir).encode() in command and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise LookupError(rank)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the process in Linux' /proc")
def test_a_killed_process_ends_all(tiny_city, tmp_path):
    work_dir = tmp_path / "killed"
    process = start(
        *("dist_train.sh", CONFIG, 2, "--data-root", tiny_city, "--work-dir", work_dir, "--num-epochs", 500, *SMALL)
    )
    for line in process.stdout:
        if "Epoch(train)" in line:
            break
    os.kill(process_of(1, work_dir), signal.SIGKILL)
    killed = time.monotonic()
    code, output = end(process)
    assert code == 1 and time.monotonic() - killed < LIMIT / 2
    assert re.search(r" rank : 1 .* exitcode : -9 .*SIGKILL", cause(output)), cause(output)
