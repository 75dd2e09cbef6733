"""Puts configs and tools into the package, where mim looks for them; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MIM = ("configs", "tools", "model-index.yml")
HOMES = (
    "cityseg_ext",
    # mim 0.5.1 looks into the folder of the first file that pip has recorded. That is the one of the metadata,
    # "cityseg_ext-<version>.dist-info", which sorts before "cityseg_ext/"; this one sorts before both.
    "_cityseg_ext_mim",
)


class BuildWithMim(build_py):
    """Add a folder ``.mim``. An editable installation needs none: mim then looks into the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for home in HOMES:
            for name in MIM:
                source, target = Path(name), Path(self.build_lib, home, ".mim", name)
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy2(source, target)


setup(cmdclass={"build_py": BuildWithMim})
