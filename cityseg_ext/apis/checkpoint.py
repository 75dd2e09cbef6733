"""Reading checkpoints: plain tensors only, and all of them or none."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from torch import nn

from cityseg_ext.checks import expected, file_problem, shorten

_RULE = "a checkpoint of tensors and plain values"
_DANGER = "Such a file can run code when it is read."
_TRUST = f"{_DANGER} If you know where it is from, --trust-checkpoint (trust=True) reads it."
_SAVE_AGAIN = f"{_DANGER} Save its state dict alone, where you trust it."


def load_weights(model: nn.Module, path: str, trust: bool = False) -> dict:
    """Load the weights of a checkpoint into a model of the same architecture.

    Nothing but tensors and plain containers is unpickled, so that a checkpoint from a stranger cannot run code.

    Args:
        model: a segmentor.
        path: a checkpoint of mmengine, or a plain state dict.
        trust: unpickle whatever else an old file holds, which may run code.

    Returns:
        What the checkpoint says about itself, its ``meta``; empty for a plain state dict.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no checkpoint, holds other objects, or fits another model.
    """
    loaded = read_checkpoint(path, trust)
    fit_weights(model, weights_of(path, loaded), path)
    return meta_of(loaded)


def fit_weights(model: nn.Module, state: dict[str, torch.Tensor], path: str) -> None:
    """Load weights by name, all of them or none.

    Args:
        model: a segmentor.
        state: what :func:`weights_of` has found.
        path: the file that they are from, for error messages.

    Raises:
        ValueError: if they are of another model.
    """
    _check_fit(path, model.state_dict(), state)
    model.load_state_dict(state, strict=False)


def weights_of(path: str, loaded: object) -> dict[str, torch.Tensor]:
    """The weights by name in what :func:`read_checkpoint` has read from a path.

    Raises:
        ValueError: if that is neither a checkpoint nor a plain state dict.
    """
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            file_problem(path, "a checkpoint with a 'state_dict' of tensors", f"a {type(loaded).__name__}")
        )
    return {key.removeprefix("module."): value for key, value in state.items()}


def meta_of(loaded: object) -> dict:
    """What a checkpoint that :func:`read_checkpoint` has read says about itself; empty if nothing."""
    meta = loaded.get("meta") if isinstance(loaded, dict) else None
    return meta if isinstance(meta, dict) else {}


def backbone_prefix(path: str) -> str | None:
    """``'backbone.'`` if the names in a file of backbone weights begin so, as in whole classifiers and segmentors.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_weights`.
    """
    state = weights_of(path, read_checkpoint(path, name="pretrained", cure=_SAVE_AGAIN))
    return "backbone." if any(key.startswith("backbone.") for key in state) else None


def check_pretrained(model: nn.Module) -> None:
    """Make sure that local files that a model or its parts are to start from fit; downloads are not looked at.

    mmengine would train from scratch with a mere warning if no name fits.

    Args:
        model: a segmentor.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read safely, or none of its weights is one of the model's.
    """
    for place, part in model.named_modules():
        init = getattr(part, "init_cfg", None) or []
        for item in init if isinstance(init, (list, tuple)) else [init]:
            path, prefix = str(item.get("checkpoint", "")), item.get("prefix") or ""
            if item["type"] != "Pretrained" or "://" in path:
                continue
            field = ".".join(filter(None, ("model", place, "init_cfg.checkpoint")))
            state = {f"{prefix}{key}": value.shape for key, value in part.state_dict().items()}
            loaded = weights_of(path, read_checkpoint(path, name=field, cure=_SAVE_AGAIN))
            if not any(state.get(key) == value.shape for key, value in loaded.items()):
                rule = f"weights of {place or 'model'}, a {type(part).__name__}, such as {shorten(list(state), 2)}"
                found = f"{shorten(list(loaded), 2)}, of which none fits"
                raise ValueError(file_problem(path, rule, found, "Give the weights of this architecture and size."))


def read_checkpoint(
    path: str, trust: bool = False, name: str = "checkpoint", cure: str = _TRUST, lazily: bool = False
) -> object:
    """What a checkpoint file holds, if that is tensors and plain values only.

    Args:
        path: the file.
        trust: unpickle whatever else it holds, which may run code; a warning names the file.
        name: the argument that gave the path, for error messages.
        cure: what to do about a file that holds other objects, for error messages.
        lazily: read tensors when they are looked at.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds other objects (they are not built), or cannot be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(expected(name, "an existing file", repr(path)))
    allow_plain_types()
    try:
        if trust:
            warn_of_trust(path)
            return torch.load(path, map_location="cpu", weights_only=False)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)
    except UnpicklingError as error:
        if not _begins_as_checkpoint(path):
            cure = "Where both are given, the config comes before the checkpoint."
            raise ValueError(file_problem(path, "a checkpoint", "another kind of file", cure)) from error
        found = f"{_asked_for(error)}; nothing was loaded"
        raise ValueError(file_problem(path, _RULE, found, cure)) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            file_problem(path, "a readable checkpoint", f"one that is truncated or no checkpoint at all ({error})")
        ) from error


@contextmanager
def safe_loading(what: str = "every file of weights", trust: bool = False) -> Iterator[None]:
    """In this block, nothing that any library reads with PyTorch is unpickled beyond tensors and plain values.

    mmengine reads files itself, when others may have replaced them, and downloads; it unpickles whatever they hold,
    with a mere warning. PyTorch's own switch is asked at the moment of reading and holds for all of that.

    Args:
        what: what is loaded in the block, for the error message.
        trust: rather allow it all.

    Raises:
        ValueError: if something else was met; it is not built.
    """
    allow_plain_types()
    switches = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    before = {name: os.environ.pop(name, None) for name in switches}
    os.environ[switches[trust]] = "1"
    try:
        yield
    except UnpicklingError as error:
        found = f"{_asked_for(error)}; nothing was loaded"
        raise ValueError(expected(what, _RULE, found, f"{_DANGER} The log names what was read last.")) from error
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def warn_of_trust(path: str) -> None:
    """Say loudly that a file is about to be trusted."""
    message = f"--trust-checkpoint: '{path}' is unpickled whatever it holds. If it is hostile, it now runs its code."
    print_log(message, logger="current", level=logging.WARNING)


def _begins_as_checkpoint(path: str) -> bool:
    """Whether a file begins as a zip or as a binary pickle, the two forms in which PyTorch has saved."""
    with open(path, "rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def _asked_for(error: UnpicklingError) -> str:
    named = re.search(r"GLOBAL (\S+)", str(error))
    return f"one that asks for '{named[1]}'" if named else "other objects or damaged data"


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
