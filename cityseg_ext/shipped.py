"""Where the configs are that come with the package."""

from __future__ import annotations

import shutil
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_HOMES = (_PACKAGE / ".mim" / "configs", _PACKAGE.parent / "configs")  # of a wheel, of a checkout


def configs_folder() -> Path:
    """The folder of configs: in the installed package, or in the checkout that it runs from.

    Raises:
        FileNotFoundError: if there is neither.
    """
    found = next((folder for folder in _HOMES if (folder / "_base_").is_dir()), None)
    if found is None:
        raise FileNotFoundError(f"Expected configs in '{_HOMES[0]}' or '{_HOMES[1]}', but got neither. Install again.")
    return found


def copy_configs(target: str) -> list[Path]:
    """Copy all configs, with those that they are based on, into a new folder, to inherit from or to change.

    Args:
        target: a folder that does not exist, or is empty.

    Returns:
        The configs there that can be run.

    Raises:
        FileExistsError: if something is in the folder.
    """
    folder = Path(target)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"Expected the folder to copy configs into to be new or empty, but got '{target}'.")
    shutil.copytree(configs_folder(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.yml"))
    return sorted(folder.glob("*.py"))
