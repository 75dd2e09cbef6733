"""Reading checkpoints: plain tensors only, and all of them or none."""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from cityseg_ext.checks import expected, file_problem, shorten


def load_weights(model: nn.Module, path: str) -> dict:
    """Load the weights of a checkpoint into a model of the same architecture.

    Nothing but tensors and plain containers is unpickled, so that a checkpoint from a stranger cannot run code.

    Args:
        model: a segmentor.
        path: a checkpoint of mmengine, or a plain state dict.

    Returns:
        What the checkpoint says about itself, its ``meta``; empty for a plain state dict.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no checkpoint, holds other objects, or fits another model.
    """
    state, meta = _read_state(path, "checkpoint")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    _check_fit(path, model.state_dict(), state)
    model.load_state_dict(state, strict=False)
    return meta


def backbone_prefix(path: str) -> str | None:
    """``'backbone.'`` if the names in a file of backbone weights begin so, as in whole classifiers and segmentors.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_weights`.
    """
    named = any(key.startswith("backbone.") for key in _read_state(path, "pretrained")[0])
    return "backbone." if named else None


def check_pretrained(backbone: nn.Module) -> None:
    """Make sure that the local file that a backbone is to start from fits it; what must be downloaded is not looked at.

    mmengine would unpickle whatever it holds, and train from scratch with a mere warning if no name fits.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read safely, or none of its weights is one of the backbone's.
    """
    init = getattr(backbone, "init_cfg", None) or []
    for item in init if isinstance(init, list) else [init]:
        path, prefix = str(item.get("checkpoint", "")), item.get("prefix") or ""
        if item["type"] != "Pretrained" or "://" in path:
            continue
        state = {f"{prefix}{key}": value.shape for key, value in backbone.state_dict().items()}
        loaded, _ = _read_state(path, "model.backbone.init_cfg.checkpoint")
        if not any(state.get(key) == value.shape for key, value in loaded.items()):
            rule = f"weights of the backbone {type(backbone).__name__}, such as {shorten(list(state), 2)}"
            found = f"{shorten(list(loaded), 2)}, of which none fits"
            raise ValueError(file_problem(path, rule, found, "Give the weights of this architecture and size."))


def read_checkpoint(path: str) -> object:
    """What a checkpoint file holds, if that is tensors and plain values only.

    Raises:
        ValueError: if it holds other objects (they are not built), or cannot be read.
    """
    allow_plain_types()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        found = f"'{named[1]}'" if named else "other objects or damaged data"
        raise ValueError(
            file_problem(
                path,
                "a checkpoint of tensors and plain values",
                f"one that asks for {found}; nothing was loaded",
                "Such a file can run code when it is read. Save its state dict alone, where you trust it.",
            )
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            file_problem(path, "a readable checkpoint", f"one that is truncated or no checkpoint at all ({error})")
        ) from error


def allow_plain_types() -> None:
    """Let PyTorch read what mmengine's own checkpoints are made of besides tensors.

    None of it can run code when it is built. mmengine 0.10.7 cannot read its own checkpoints without.
    """
    core = getattr(np, "_core", None) or np.core
    scalars = [type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "uint32", "uint8", "bool")]
    types = [
        HistoryBuffer,
        # A history names its four methods through getattr; only these are given, never getattr itself.
        (_history_method, "builtins.getattr"),
        np.ndarray,
        np.dtype,
        core.multiarray._reconstruct,
        core.multiarray.scalar,
        *scalars,
    ]
    torch.serialization.add_safe_globals(types)


def _read_state(path: str, name: str) -> tuple[dict[str, torch.Tensor], dict]:
    """Weights by name, and ``meta``, of a checkpoint or a plain state dict; ``name`` is the argument with the path."""
    if not Path(path).is_file():
        raise FileNotFoundError(expected(name, "an existing file", repr(path)))
    loaded = read_checkpoint(path)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            file_problem(path, "a checkpoint with a 'state_dict' of tensors", f"a {type(loaded).__name__}")
        )
    meta = loaded.get("meta")
    return state, meta if isinstance(meta, dict) else {}


def _history_method(owner: object, name: str) -> object:
    if owner is not HistoryBuffer or name not in ("min", "max", "mean", "current"):
        raise UnpicklingError(f"GLOBAL builtins.getattr({owner!r}, {name!r}) is not a method of a log history")
    return getattr(owner, name)


def _check_fit(path: str, own: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
    missing = sorted(set(own) - set(state))
    # Deployed checkpoints often leave out the auxiliary head, which does nothing at test time.
    missing = [key for key in missing if not key.startswith("auxiliary_head.")]
    extra = sorted(set(state) - set(own))
    other = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in sorted(set(own) & set(state))
        if own[key].shape != state[key].shape
    ]
    parts = [
        f"{len(keys)} {what} ({shorten(keys, 3)})"
        for what, keys in (("weights are missing", missing), ("are unknown", extra), ("have other shapes", other))
        if keys
    ]
    if parts:
        raise ValueError(
            file_problem(
                path, "a checkpoint of this config's model", "; ".join(parts), "Give the config it was trained with."
            )
        )
