"""The folder of a run: one that can be written, and in which mmengine's copy of the config harms nothing."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.config import Config

from cityseg_ext.checks import expected
from cityseg_ext.whole_file import check_writable


def check_work_dir(cfg: Config) -> None:
    """Make the work dir of a config, and make sure that a run can write there all that it will, and nothing else.

    Raises:
        OSError: if no file can be written there.
        ValueError: if checkpoints could not be named there, or the copy of the config would replace the config itself
            or be written through a link.
    """
    check_writable("work_dir", cfg.work_dir)
    try:
        cfg.work_dir.encode()
    except UnicodeEncodeError as error:  # the first checkpoint would fail, after an epoch
        cure = "Rename it; where the locale is not UTF-8, set PYTHONUTF8=1."
        raise ValueError(expected("work_dir", "a folder with a name in UTF-8", ascii(cfg.work_dir), cure)) from error
    if cfg.filename is None:
        return
    copy = Path(cfg.work_dir, Path(cfg.filename).name)
    if copy.is_symlink() or (_are_same(copy, cfg.filename) and not _is_copy(copy)):
        rule = "a folder where the whole config can be written under its name"
        raise ValueError(expected("work_dir", rule, f"'{cfg.work_dir}', where that would replace '{copy.resolve()}'"))


def _are_same(copy: Path, config: str) -> bool:
    return copy.exists() and os.path.exists(config) and copy.samefile(config)


def _is_copy(path: Path) -> bool:
    """Whether a config is one that mmengine has written, with nothing in it that another writing would lose."""
    return path.read_text(encoding="utf-8") == Config.fromfile(str(path)).pretty_text
