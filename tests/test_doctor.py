"""What the doctor says about environments that are broken in the usual ways."""

import os
import subprocess
import sys
import venv

import pytest

from cityseg_ext.doctor import _extras, _installed, _opencv, _openmmlab, _python, _torch, _torchvision, examine, report

GOOD = {name: dict(version="1.0") for name in ("mmengine", "mmseg", "cv2")} | {
    "mmcv": dict(version="1", compiled=False)
}
CPU_TORCH = dict(version="2.13.0+cpu", devices=[], built=None, mps=False)


def test_this_environment_is_sound():
    findings = examine()
    assert not [finding for finding in findings if finding.level == "problem"]
    text = report(findings)
    assert "all components register" in text and text.endswith("No problem was found.")


def test_leftovers_of_a_broken_installation_are_passed_over(tmp_path, monkeypatch):
    """pip leaves such folders when it is interrupted: the doctor is asked just then."""
    (tmp_path / "half-1.0.dist-info").mkdir()
    whole = tmp_path / "Open_CV.Python-4.dist-info"
    whole.mkdir()
    (whole / "METADATA").write_text("Metadata-Version: 2.1\nName: Open_CV.Python\nVersion: 4\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = _installed()
    assert installed["open-cv-python"] == "4" and "torch" in installed and None not in installed


@pytest.mark.parametrize(
    ("findings", "found", "cure"),
    [
        ([_python((3, 9))], "3.10 or newer is needed", "Python 3.11"),
        (
            _torch(dict(error="No module named 'torch'"), False),
            "torch cannot be used",
            "install --force-reinstall torch",
        ),
        (_torch(CPU_TORCH, True), "built for the CPU only, and this machine has an NVIDIA GPU", "uninstall -y torch"),
        (_torch(CPU_TORCH | dict(built="13.0"), True), "does not see the NVIDIA GPU", "NVIDIA driver"),
        (
            _torchvision(dict(error="operator torchvision::nms does not exist"), True),
            "torchvision is installed and does not import",
            "uninstall -y torchvision",
        ),
        (
            _opencv(dict(version="5"), {"opencv-python": "5", "opencv-python-headless": "4"}),
            "2 packages provide cv2",
            "uninstall -y opencv-python opencv-python-headless && python -m pip install opencv-python",
        ),
        (_opencv(dict(error="libGL.so.1: not found"), {"opencv-python": "5"}), "libGL", "opencv-python-headless"),
        (_opencv(dict(error="No module named 'cv2'"), {}), "OpenCV cannot be used", "pip install opencv-python"),
        (
            _openmmlab(GOOD, {"onedl-mmcv": "2", "mmcv-lite": "2"}),
            "both lines of OpenMMLab",
            "uninstall -y mmcv-lite onedl-mmcv && python -m pip install onedl-mmcv onedl-mmengine",
        ),
        (_openmmlab(GOOD | {"mmseg": dict(error="x")}, {}), "mmseg: x", "install onedl-mmcv"),
    ],
)
def test_each_usual_fault_has_a_cure(findings, found, cure):
    (problem,) = [finding for finding in findings if finding.level == "problem"]
    assert found in problem.text and cure in problem.cure


@pytest.mark.parametrize(
    "findings",
    [
        _torchvision(dict(error="not there"), False),
        _torch(CPU_TORCH, False),
        _torch(CPU_TORCH | dict(devices=["H100"]), True),
        _opencv(dict(version="5"), {"opencv-python-headless": "5"}),
        _openmmlab(GOOD, {"mmcv": "2.1"}),
    ],
)
def test_sound_environments_are_left_alone(findings):
    assert all(finding.level != "problem" for finding in findings)


def test_extras_are_told_apart():
    requirements = ["torch>=2.6", "av>=14; extra == 'video'", 'onnx>=1.2 ; extra == "export"', "ruff; extra == 'dev'"]
    there, missing = _extras({"av": "18.1"}, requirements)
    assert (there.level, there.text) == ("ok", "extra 'video': av 18.1")
    assert (missing.level, missing.cure) == ("note", "python -m pip install 'cityseg_ext[export]'")


def test_it_speaks_where_nothing_is_installed(tmp_path):
    from conftest import ROOT

    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [str(python), "-m", "cityseg_ext", "doctor"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "PROBLEM  torch cannot be used" in run.stdout and run.stdout.strip().endswith("problems.")


def test_help_needs_nothing_else():
    run = subprocess.run([sys.executable, "-m", "cityseg_ext", "--help"], capture_output=True, text=True, check=True)
    assert "doctor" in run.stdout
