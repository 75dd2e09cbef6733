import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from cityseg_ext.labels import CITYSCAPES_19, LABEL_SUFFIXES, PHOTO_SUFFIXES

MANY = 1000  # so many files that nobody converts them all before he is interrupted
TOOL = [sys.executable, str(ROOT / "tools" / "convert_masks.py")]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def convert(*options):
    command = [*TOOL, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


@pytest.fixture
def tree(tiny_city, tmp_path):
    """The synthetic tree, with one corrupt mask and one photograph without label."""
    import shutil

    city = shutil.copytree(tiny_city, tmp_path / "my city")
    label = sorted(city.rglob(f"*{LABEL_SUFFIXES['color']}"))[0]
    label.write_bytes(label.read_bytes()[:100])
    photo = next(city.rglob(f"*{PHOTO_SUFFIXES[0]}"))
    shutil.copy(photo, photo.with_name(f"lost{PHOTO_SUFFIXES[0]}"))
    return city


def test_a_tree_with_trouble(tree, tmp_path):
    out = tmp_path / "masks"
    process = convert(tree / "gtFine", out)
    assert process.returncode == 1, process.stderr
    assert process.stdout.splitlines()[-1] == (
        f"Converted 6, skipped 0 (already there), missing 1, corrupt 1. Masks in {out}, report in "
        f"{out / 'conversion.json'}"
    )
    assert "WARNING - Corrupt: Expected file" in process.stdout and "1 photographs have no label" in process.stdout
    report = json.loads((out / "conversion.json").read_text())
    assert report["counts"] == dict(converted=6, skipped=0, missing=1, corrupt=1, left=0)
    for entry in report["converted"]:
        ids = np.asarray(Image.open(entry["label"].replace(LABEL_SUFFIXES["color"], LABEL_SUFFIXES["label_ids"])))
        mask = np.asarray(Image.open(entry["mask"]))
        for number in np.unique(ids):
            assert set(mask[ids == number]) == {CITYSCAPES_19.id_to_index[int(number)]}

    process = convert(tree / "gtFine", out, "--allow-errors", "--workers", "1")
    assert process.returncode == 0
    assert process.stdout.splitlines()[-1].startswith("Converted 0, skipped 6 (already there), missing 1, corrupt 1.")


def test_mistakes_end_in_one_line(tree, tmp_path):
    process = convert(tree / "gtFine", tmp_path / "masks", "--label-suffix", "_color.jpg")
    assert process.returncode == 2
    assert process.stderr.startswith("error: Expected `src`") and "--label-suffix" in process.stderr
    assert convert(tree / "gtFine", tmp_path / "masks", "--source", "colour").returncode == 2
    assert not (tmp_path / "masks").exists()


def test_help_explains():
    process = convert("--help")
    assert process.returncode == 0
    for option in ("--source", "--allow-errors", "--max-images", "--workers", "--overwrite", "--photos"):
        assert option in process.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=str)
def test_a_run_that_is_stopped_can_be_taken_up(tmp_path, number):
    pixels = np.zeros((512, 1024, 3), np.uint8)
    pixels[:] = CITYSCAPES_19.palette[0]
    first = tmp_path / "in" / f"0{LABEL_SUFFIXES['color']}"
    first.parent.mkdir()
    Image.fromarray(pixels).save(first)
    for index in range(1, MANY):
        os.link(first, tmp_path / "in" / f"{index}{LABEL_SUFFIXES['color']}")
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*TOOL, str(first.parent), str(out), "--workers", "2"],
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit SIG_IGN
    )
    while not list(out.glob("*_mask.png")):
        assert process.poll() is None
        time.sleep(0.01)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
        assert process.wait(10) == 130
        assert json.loads((out / "conversion.json").read_text())["counts"]["left"] > 0
    else:
        process.send_signal(number)
        assert process.wait(10) == -number
    with pytest.raises(ProcessLookupError):  # the workers are gone too
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    done = list(out.glob("*_mask.png"))
    assert 0 < len(done) < MANY
    for mask in done:
        Image.open(mask).load()
    process = convert(first.parent, out, "--workers", "2")
    assert f"Converted {MANY - len(done)}, skipped {len(done)} " in process.stdout
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["conversion.json", *(f"{i}_mask.png" for i in range(MANY))]
    )
