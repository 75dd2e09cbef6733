"""The SLURM script, with an ``srun`` and an ``scontrol`` that write down how they were called."""

import os
import signal
import subprocess
import time

import pytest
from conftest import ROOT

SCRIPT = ROOT / "tools" / "slurm_train.sh"


@pytest.fixture
def slurm(tmp_path):
    def start(code, tasks=1, pause="0"):
        for name, body in (("srun", f"sleep {pause}; exit {code}"), ("scontrol", "exit 0")):
            program = tmp_path / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n{body}\n')
            program.chmod(0o755)
        environment = dict(
            os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}", SLURM_JOB_ID="77", SLURM_NTASKS=str(tasks)
        )
        return subprocess.Popen(["bash", str(SCRIPT), "a config.py", "--seed", "3"], env=environment)

    start.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    return start


@pytest.mark.parametrize("code", [0, 2, 143])
def test_it_ends_as_training_does(slurm, code):
    assert slurm(code).wait() == code
    (call,) = slurm.calls()
    assert call.endswith("python -u tools/train.py a config.py --seed 3 --launcher none --resume")


def test_the_time_limit_puts_it_back(slurm):
    assert slurm(138, tasks=4).wait() == 138
    first, second = slurm.calls()
    assert "--launcher slurm --resume" in first and second == "scontrol requeue 77"


def test_it_waits_for_training_that_saves(slurm):
    """SLURM signals the shell as well."""
    job = slurm(138, pause="1")
    time.sleep(0.4)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        job.send_signal(number)
        time.sleep(0.1)
    assert job.wait() == 138 and slurm.calls()[-1] == "scontrol requeue 77"
