"""`tools/infer.py` with videos, as a user runs it."""

import os
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from conftest import ROOT

from cityseg_ext.apis.video_writer import count_frames


def start(*options, cwd):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "infer.py"), *map(str, options), "--device", "cpu"],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit SIG_IGN
    )


def write_clip(path, count):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12.5, (64, 48))
    for step in range(count):
        writer.write(np.full((48, 64, 3), step % 256, np.uint8))
    writer.release()
    return path


def test_a_video_in_the_default_folder(tiny_model, tmp_path):
    clip = write_clip(tmp_path / "a drive.avi", 5)
    process = start(clip, *tiny_model, "--every", "2", cwd=tmp_path)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    last = (
        r"Predicted 3 of 5 frames, \d+\.\d frames/s\. Video \((h264|mp4v), 12\.5 frames/s\): predictions/a drive\.mp4"
    )
    assert re.fullmatch(last, out.strip().splitlines()[-1])
    assert count_frames(tmp_path / "predictions" / "a drive.mp4") == 5


def test_options_that_would_do_nothing_are_refused(tiny_model, run_tool, tmp_path):
    clip = write_clip(tmp_path / "drive.avi", 1)
    with pytest.raises(ValueError, match="Expected `--no-legend` to be used with images, not with a video, but got"):
        run_tool("infer", clip, *tiny_model, "--no-legend")
    with pytest.raises(ValueError, match="Expected `--every` to be used with a video"):
        run_tool("infer", "street.jpg", *tiny_model, "--every", 2)
    assert list(tmp_path.iterdir()) == [clip]


def test_an_interrupt_leaves_nothing(tiny_model, tmp_path):
    clip, out = write_clip(tmp_path / "drive.avi", 5000), tmp_path / "out"
    process = start(clip, *tiny_model, "--out", out / "long.mkv", cwd=tmp_path)
    end = time.monotonic() + 60
    while not (out.is_dir() and list(out.iterdir())) and time.monotonic() < end:
        time.sleep(0.05)
    assert list(out.iterdir()), process.poll()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and not list(out.iterdir())
