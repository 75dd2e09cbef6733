"""A config as data: what of it may go into a published checkpoint, and what is taken from one."""

from __future__ import annotations

import math
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import mmengine.registry
import mmseg.registry
from mmengine.config import Config
from mmengine.registry import Registry

import cityseg_ext.plugin  # noqa: F401  (registers what configs name)
from cityseg_ext.apis.config_tree import losses
from cityseg_ext.checks import did_you_mean, expected, file_problem

PLUGIN = "cityseg_ext.plugin"
_OF_THE_RUN = ("work_dir", "load_from", "resume", "launcher", "experiment_name")
_BUILT = ("type", "constructor", "runner_type")  # fields whose value mmengine looks up and calls
DATA_ROOT = "data"
_PLAIN = (str, int, float, bool, type(None))


def config_to_publish(cfg: Config) -> tuple[dict[str, Any], list[str]]:
    """The values of a config without what belongs to one machine or one person.

    Left out are work dir, earlier checkpoints, trackers, and pretrained weights (the published ones replace them).
    Every ``data_root`` becomes ``'data'``; of other absolute paths the last part is kept.

    Args:
        cfg: a config; not changed.

    Returns:
        Plain values, tuples kept as tuples: the model built from them is the same; and the fields that were changed.

    Raises:
        ValueError: if a value is no plain one.
    """
    changed: list[str] = []
    values = cfg.to_dict()
    for loss in losses(Config(dict(model=values["model"]))):
        if isinstance(loss.get("class_weight"), str):
            raise ValueError(
                expected("class_weight", "numbers", repr(loss.class_weight), "Give the config that the work dir keeps.")
            )
    for name in _OF_THE_RUN:
        if values.pop(name, None) not in (None, False, "none"):
            changed.append(name)
    return _scrub(values, "", changed), changed


def check_config(path: str, values: object, name: str) -> Config:
    """A config from the values in a checkpoint of unknown origin.

    Nothing is imported for it. A ``type`` in a config can name any object of any Python module, which mmengine imports
    and calls; here it must be the bare name of something registered.

    Args:
        path: the file, for error messages.
        values: what it has as its config.
        name: what the config is called, as a file.

    Raises:
        ValueError: if they ask for anything but this package and MMSegmentation.
    """
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise ValueError(file_problem(path, "a checkpoint with a config in it", "none", "Give its config file."))
    custom = values.get("custom_imports")
    imports = custom.get("imports") if isinstance(custom, dict) else custom
    if imports not in (None, PLUGIN, [PLUGIN], (PLUGIN,)):
        raise _refused(path, f"custom_imports of '{PLUGIN}' alone", repr(imports))
    if values.get("default_scope", "mmseg") != "mmseg":
        raise _refused(path, "default_scope 'mmseg'", repr(values["default_scope"]))
    _check_types(path, values, _registered())
    values = {key: value for key, value in values.items() if key not in _OF_THE_RUN}
    try:
        return Config(values, cfg_text=f"# The config in {path}", filename=name)
    except KeyError as error:
        raise _refused(path, "fields that are no words of mmengine", str(error)) from error


def _scrub(value: Any, place: str, changed: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _scrub_field(key, item, f"{place}.{key}".lstrip("."), changed) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_scrub(item, f"{place}.{index}", changed) for index, item in enumerate(value))
    if type(value) not in _PLAIN or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(expected(place, "a plain value, to be published", f"a {type(value).__name__}"))
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute() or value.startswith("~"):
                changed.append(place)
                return kind(value).name
    return value


def _scrub_field(key: str, value: Any, place: str, changed: list[str]) -> Any:
    if key == "data_root" and value != DATA_ROOT:
        changed.append(place)
        return DATA_ROOT
    if key == "vis_backends" and value:
        local = [item for item in value if item["type"] == "LocalVisBackend"]
        changed += [place] * (len(local) < len(value))
        return local
    # The published weights take the place of all that the model started from.
    if (key == "pretrained" and value is not None) or (isinstance(value, dict) and value.get("type") == "Pretrained"):
        changed.append(place)
        return None
    return _scrub(value, place, changed)


def _registered() -> set[str]:
    """Names of everything that is registered with mmengine, mmcv, MMSegmentation and this package."""
    registries = [
        registry
        for module in (mmseg.registry, mmengine.registry)
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    ]
    for registry in registries:
        registry.import_from_location()
    return {name for registry in registries for name in registry.module_dict}


def _check_types(path: str, value: Any, known: set[str]) -> None:
    if isinstance(value, dict):
        if "_scope_" in value:
            raise _refused(path, "without `_scope_`", repr(value["_scope_"]))
        for key, item in value.items():
            if key in _BUILT and item is not None and not (isinstance(item, str) and item in known):
                raise _refused(path, "types that this package or MMSegmentation registers", repr(item), known)
            _check_types(path, item, known)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_types(path, item, known)


def _refused(path: str, rule: str, found: str, known: set[str] = frozenset()) -> ValueError:
    near = did_you_mean(found.strip("'"), known)
    cure = f"{near} Such a config can run code; give a config file that you trust.".strip()
    return ValueError(file_problem(path, f"a checkpoint whose config has {rule}", found, cure))
