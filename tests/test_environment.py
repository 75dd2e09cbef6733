"""Hostile surroundings, as many as possible at once: what a user meets on clusters, in containers and abroad."""

import os
import subprocess
import sys

import mmseg
import pytest
from conftest import ROOT, TINY

from cityseg_ext.apis.synthetic_cityscapes import write_synthetic_cityscapes

CONFIG = ROOT / "configs" / "deeplabv3_r18_focaldice.py"
OPTIONAL = ["av", "mmpretrain", "numba", "onnx", "onnxruntime", "onnxscript", "pydensecrf", "starlette"]
OPTIONAL += ["tensorboard", "timm", "triton", "uvicorn", "wandb"]
if mmseg.__version__ >= "1.3":  # the upstream line imports mmcv's compiled operators
    OPTIONAL += ["mmcv._ext", "mmcv.ops"]
BLOCK = f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL}))  # as if they were not there"
TOOLS = """
import runpy, shlex, sys
sys.path.insert(0, TOOLS)
for line in sys.argv[1:]:
    sys.argv = shlex.split(line)
    runpy.run_path(f"{TOOLS}/{sys.argv[0]}.py", run_name="__main__")
""".replace("TOOLS", repr(str(ROOT / "tools")))


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """Data in a folder of unusual name; working directory and home that cannot be written; no optional package."""
    folder = tmp_path_factory.mktemp("hostile") / "my dätä, 街"
    write_synthetic_cityscapes(folder / "città", train=2, val=1, height=64, width=64)
    (folder / "site" / "torchvision").mkdir(parents=True)
    (folder / "site" / "sitecustomize.py").write_text(BLOCK)
    broken = 'raise RuntimeError("operator torchvision::nms does not exist")'
    (folder / "site" / "torchvision" / "__init__.py").write_text(broken)
    (folder / "file").touch()
    nowhere = str(folder / "file" / "x")  # below a file: not even root can write there
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "VIRTUAL_ENV") if name in os.environ}
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TORCH_HOME", "MPLCONFIGDIR"), nowhere)
    language = dict(LC_ALL="C", PYTHONIOENCODING="ascii")
    return folder, kept | homes | language | dict(PYTHONPATH=str(folder / "site"), OMP_NUM_THREADS="1")


def run(command, environment, **options):
    cwd = "/proc" if os.path.isdir("/proc") else "/"
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", timeout=300) | options
    return subprocess.run([sys.executable, *map(str, command)], cwd=cwd, env=environment, check=False, **options)


@pytest.fixture(scope="module")
def trained(surroundings):
    folder, environment = surroundings
    options = [f"{name}={value}" for name, value in TINY.items()]
    spawn = ["env_cfg.mp_cfg.mp_start_method=spawn", "train_dataloader.num_workers=1", "val_dataloader.num_workers=0"]
    data = ["--data-root", folder / "città", "--work-dir", folder / "wörk dir", "--image-size", "64", "64"]
    short = ["--batch-size", "2", "--num-epochs", "1", "--device", "cpu", "--cfg-options", *options, *spawn]
    return run([ROOT / "tools" / "train.py", CONFIG, *data, *short], environment)


def test_training(trained, surroundings):
    folder, _ = surroundings
    assert trained.returncode == 0, trained.stderr[-3000:]
    last = trained.stdout.strip().splitlines()[-1]
    assert last.startswith("Trained for") and "w\\xf6rk dir" in last  # a terminal of ASCII shows what it can
    assert list((folder / "wörk dir").glob("best_mDice*.pth"))
    assert "mp_start_method='spawn'" in (folder / "wörk dir" / CONFIG.name).read_text()
    assert "Traceback" not in trained.stdout + trained.stderr


def test_a_broken_torchvision_is_told_and_left_out(trained):
    assert trained.stdout.count("torchvision is installed and does not import (operator torchvision::nms") == 1
    assert "cityseg_ext doctor" in trained.stdout


def test_test_and_infer(trained, surroundings):
    folder, environment = surroundings
    work = folder / "wörk dir"
    (best,) = work.glob("best_mDice*.pth")
    config, out = work / CONFIG.name, folder / "öut"
    lines = [
        f"test '{config}' '{best}' --show-dir '{out}/panels' --device cpu --num-workers 0",
        f"infer '{folder}/città/leftImg8bit/val' '{config}' '{best}' --out '{out}/maps' --device cpu",
    ]
    done = run(["-c", TOOLS, *lines], environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    assert [len(list((out / name).rglob("*.png"))) for name in ("panels", "maps")] == [1, 1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither locales of this kind nor pipes that end a writer")
def test_a_locale_without_utf8_and_a_reader_that_has_gone(surroundings):
    folder, environment = surroundings
    reader, writer = os.pipe()
    os.close(reader)
    narrow = environment | dict(PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    convert = [ROOT / "tools" / "convert_masks.py", folder / "città" / "gtFine", folder / "ascii", "--workers", "0"]
    done = run(convert, narrow, stdout=writer)
    os.close(writer)
    assert done.returncode == 141 and "rror" not in done.stderr, done.stderr  # as of any program that `head` cuts off
    assert len(list((folder / "ascii").rglob("*.png"))) == 3
