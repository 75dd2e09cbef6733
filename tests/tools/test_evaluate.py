import csv
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT

from cityseg_ext.labels import CITYSCAPES_19, LABEL_SUFFIXES


def run(*options):
    command = [sys.executable, str(ROOT / "tools" / "evaluate.py"), *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def folders(tiny_city, tmp_path):
    """Predictions in train ids that are the truth, moved by a pixel."""
    to_train = np.array([CITYSCAPES_19.id_to_index.get(number, 255) for number in range(256)], np.uint8)
    preds = tmp_path / "my, predictions"
    preds.mkdir()
    truth = tiny_city / "gtFine" / "val"
    for path in truth.rglob(f"*{LABEL_SUFFIXES['label_ids']}"):
        moved = np.roll(to_train[cv2.imread(str(path), cv2.IMREAD_UNCHANGED)], 1, axis=1)
        cv2.imwrite(str(preds / path.name.replace(LABEL_SUFFIXES["label_ids"], ".png")), moved)
    return preds, truth


def test_all_it_can_write(folders, tmp_path):
    files = dict(csv=tmp_path / "new/a b.csv", json=tmp_path / "s.json", per_image=tmp_path / "ü.csv")
    options = [part for name, path in files.items() for part in (f"--{name.replace('_', '-')}", path)]
    process = run(*folders, *options, "--boundary")
    assert process.returncode == 0, process.stderr
    written = ", ".join(map(str, files.values()))
    assert process.stdout.splitlines()[-1] == f"Scored 3 images of {folders[0]}. Wrote {written}"
    scores = json.loads(files["json"].read_text())
    assert f"| road               | {100 * scores['classes']['road']['IoU']:.2f} |" in process.stdout
    assert "Predictions: train ids, as values say." in process.stdout
    assert 0 < scores["mBoundaryIoU"] < scores["mIoU"] < 1
    with open(files["per_image"], encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_mistakes_end_in_one_line(folders, tmp_path):
    for options, message in (
        ((*folders, "--json", tmp_path), "error: Expected `json` to be a file"),
        ((*folders, "--pred-type", "label_ids"), "error: Expected file '"),
    ):
        process = run(*options)
        assert process.returncode == 2 and process.stderr.startswith(message), process.stderr
        assert len(process.stderr.strip().splitlines()) == 2 and not process.stdout


def test_help_explains():
    process = run("--help")
    assert process.returncode == 0
    for option in ("--pred-type", "--gt-type", "--iiou", "--boundary", "--csv", "--json", "--per-image", "--taxonomy"):
        assert option in process.stdout
