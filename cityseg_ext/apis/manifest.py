"""What a training run was, in one file that starts it again."""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log

from cityseg_ext.apis.dataset_listing import list_samples
from cityseg_ext.apis.evaluation_report import without_nan
from cityseg_ext.apis.provenance import provenance
from cityseg_ext.apis.published_config import check_config
from cityseg_ext.checks import file_problem
from cityseg_ext.whole_file import write_whole

MANIFEST = "manifest.json"


def write_manifest(cfg: Config, seed: int, command: str, resumed_from: str | None) -> Path:
    """Write ``<work_dir>/manifest.json``: config, seed, commit, versions, data and command of a run.

    A run that goes on keeps its manifest, and adds when, from where, and with which code it did.

    Args:
        cfg: the config, as the user's options made it.
        seed: the seed that the run has; the config may leave it open.
        command: the command line.
        resumed_from: the checkpoint, or None for a run that begins.
    """
    path = Path(cfg.work_dir, MANIFEST)
    known = provenance(cfg, cfg.get("load_from"), command)
    if resumed_from is not None and path.is_file():
        manifest = read_manifest(path)
        kept = {name: known[name] for name in ("date", "command", "commit", "versions", "hardware")}
        manifest["resumed"] = [*manifest.get("resumed", []), kept | dict(checkpoint=resumed_from)]
    else:
        cfg = Config(cfg.to_dict())
        cfg.randomness = dict(cfg.get("randomness") or {}, seed=seed)
        processes = dict(processes=get_world_size(), threads=torch.get_num_threads())
        data = known["data"] | dict(files=data_fingerprint(cfg))
        manifest = known | dict(config_text=cfg.pretty_text, seed=seed, data=data, parallel=processes)
    write_whole(path, (json.dumps(without_nan(manifest), indent=1, allow_nan=False) + "\n").encode())
    return path


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read what :func:`write_manifest` wrote.

    Raises:
        ValueError: if the file is something else.
    """
    try:
        manifest = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(file_problem(path, "the manifest of a training run", f"no JSON ({error})")) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("config_text"), str) or "seed" not in manifest:
        raise ValueError(file_problem(path, "the manifest of a training run", "a file without its config and seed"))
    return manifest


def config_of(path: str | Path) -> Config:
    """The config of a manifest; its work dir is another, so that the run it describes stays as it is.

    It is read as data: nothing in it is run or imported.

    Raises:
        ValueError: if the file is no manifest, or its config asks for anything but this package and MMSegmentation.
    """
    manifest = read_manifest(path)
    try:
        lines = ast.parse(manifest["config_text"]).body
        values = {line.targets[0].id: _value(line.value) for line in lines}
    except (SyntaxError, ValueError, AttributeError) as error:
        raise ValueError(
            file_problem(path, "a manifest with plain values in its config", f"others ({error})")
        ) from error
    cfg = check_config(str(path), values, manifest.get("config") or "rerun.py")  # its own name, as runs are named
    cfg.load_from = values.get("load_from")
    cfg.work_dir = f"{values.get('work_dir') or Path(path).parent}_rerun"
    return cfg


def _value(node: ast.expr) -> Any:
    """The value of an expression as mmengine writes it: literals, and ``dict(name=value)``."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        return {str(word.arg): _value(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _value(item) for key, item in zip(node.keys, node.values, strict=True)}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)


def tell_differences(path: str | Path, cfg: Config) -> None:
    """Warn where code, libraries or data are not those of a manifest: the weights may differ then.

    Args:
        path: the manifest.
        cfg: the config that is about to run, with the data root of this machine.
    """
    manifest, now = read_manifest(path), provenance(cfg, None)
    now["data"]["files"] = data_fingerprint(cfg)
    launched = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1  # they have not met yet
    processes = 1 if cfg.get("launcher", "none") == "none" else int(launched)
    now["parallel"] = dict(processes=processes, threads=torch.get_num_threads())
    for name, before, here in _differences(manifest, now):
        message = f"'{path}' was made with {name} {before}; here it is {here}."
        print_log(message, logger="current", level=logging.WARNING)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    pairs = [("commit", before.get("commit"), now["commit"])]
    for group, names in (("versions", None), ("hardware", ["device"]), ("parallel", None), ("data", ["files"])):
        known = before.get(group) or {}
        label = "" if group in ("versions", "parallel") else f"{group} "
        pairs += [(f"{label}{name}", known.get(name), now[group].get(name)) for name in names or known]
    yield from (pair for pair in pairs if pair[1] != pair[2])


def data_fingerprint(cfg: Config) -> str | None:
    """Hexadecimal SHA-256 of the names and sizes of all files of a config's data sets, wherever these lie.

    None for data sets that cannot be listed.
    """
    try:
        samples = list_samples(cfg).samples
    except (FileNotFoundError, ValueError):  # training will say it, or its data set is of another kind
        return None
    digest = hashlib.sha256()
    for sample in samples:
        sizes = [
            os.path.getsize(file) if file and os.path.isfile(file) else None for file in (sample.photo, sample.label)
        ]
        digest.update(repr((sample.split, sample.name, *sizes)).encode(errors="backslashreplace"))
    return digest.hexdigest()
