"""What a wheel and a source distribution hold, and that mim's way into them works without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from conftest import ROOT

pytest.importorskip("setuptools", "77")
SOURCES = ("cityseg_ext", "configs", "tools", "setup.py", "pyproject.toml", "MANIFEST.in", "model-index.yml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: building writes into the folder it builds from."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*SOURCES, "README.md", "LICENSE", "requirements.txt", "Makefile", "CHANGELOG.md"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        ".",
    ]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_has_all_that_the_checkout_has(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (("cityseg_ext", ""), ("configs", "_cityseg_ext_mim/.mim/"), ("tools", "cityseg_ext/.mim/")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{inside}{path.relative_to(ROOT)}" in names, path
    for home in ("cityseg_ext", "_cityseg_ext_mim"):
        assert f"{home}/.mim/model-index.yml" in names
    # mim 0.5.1 takes the folder of the first file in the record, which pip sorts, for the package's.
    first = min(names)
    assert first.startswith("_cityseg_ext_mim/.mim/"), first
    assert not [name for name in names if name.startswith("tests/")]


def test_scripts_inside_the_wheel_run_from_any_folder(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    mim = site / "cityseg_ext" / ".mim"
    environment = os.environ | {"PYTHONPATH": str(site), "CITYSEG_TRACEBACK": "1"}
    command = [sys.executable, str(mim / "tools" / "browse_dataset.py"), str(mim / "configs" / "unet_ce.py")]
    run = subprocess.run(
        [*command, "--data-root", "nowhere"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "Expected `data_root` to be a folder" in run.stderr, run.stderr
    assert f'File "{site}{os.sep}cityseg_ext{os.sep}datasets' in run.stderr  # not the checkout's


def test_the_model_index_names_every_config_once():
    (metafile,) = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
    index = yaml.safe_load((ROOT / metafile).read_text())
    configs = [model["Config"] for model in index["Models"]]
    assert sorted(configs) == sorted(f"configs/{path.name}" for path in (ROOT / "configs").glob("*.py"))
    collections = {collection["Name"] for collection in index["Collections"]}
    for model in index["Models"]:
        assert model["Config"] == f"configs/{model['Name']}.py" and model["In Collection"] in collections
