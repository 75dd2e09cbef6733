import subprocess
import sys

import numpy as np
from conftest import ROOT
from PIL import Image


def infer(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "infer.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_folder_with_one_broken_photograph(tiny_model, tmp_path):
    folder, out = tmp_path / "my photos", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(np.full((20, 31, 3), 90, np.uint8)).save(folder / "good.png")
    (folder / "bad.jpg").write_bytes(b"no image")
    config, checkpoint = tiny_model
    run = infer(folder, checkpoint, "--out", out, "--save", "class_map", "--device", "cpu")
    assert run.returncode == 1
    assert run.stdout.splitlines()[0] == f"Config: {config}, found beside the checkpoint"
    assert "not read: Expected file" in run.stderr and "bad.jpg" in run.stderr and "Traceback" not in run.stderr
    last = run.stdout.strip().splitlines()[-1]
    assert last.startswith("Predicted 1 images") and last.endswith(f"1 could not be read. class_map: {out}")
    assert Image.open(out / "class_map" / "good.png").size == (31, 20)


def test_fields_of_the_config_are_written_and_obeyed(tiny_model, run_tool, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)).save(tmp_path / "a.png")

    def confidence(out, *options):
        run_tool("infer", "a.png", tiny_model[1], "--out", out, "--save", "confidence", "--device", "cpu", *options)
        return np.asarray(Image.open(tmp_path / out / "confidence" / "a.png")).astype(int)

    crf = ("--crf", "--cfg-options", "refiner.smooth_weight=0")
    plain, same = confidence("plain"), confidence("same", *crf, "refiner.appearance_weight=0")
    refined = confidence("refined", *crf, "refiner.appearance_weight=10")
    assert np.abs(same - plain).max() <= 1  # with both weights 0 nothing changes
    assert np.abs(refined - plain).max() > 1000


def test_a_checkpoint_of_other_classes_is_one_line(tiny_model, tmp_path):
    import torch

    config, checkpoint = tiny_model
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name in ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias"):
        state[name] = torch.cat([state[name], state[name]])[:29]
    torch.save(dict(state_dict=state), tmp_path / "29.pth")
    run = infer(tmp_path, config, tmp_path / "29.pth", "--device", "cpu")
    assert run.returncode == 2
    assert "29.pth' to be a checkpoint of this config's model" in run.stderr and "Traceback" not in run.stderr
