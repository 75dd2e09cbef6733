"""What evaluators read from the data samples that the runner hands them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from cityseg_ext.checks import expected

Value = TypeVar("Value")


def class_names(meta: dict | None) -> Sequence[str]:
    """The names of a data set's classes, from its ``dataset_meta``.

    Raises:
        ValueError: if it names none.
    """
    classes = (meta or {}).get("classes")
    if not classes:
        raise ValueError(expected("dataset_meta", "a dict with 'classes'", meta, "The data set must name classes."))
    return classes


def sample_key(sample: dict) -> str:
    """What tells one image from another over all ranks: its path.

    Raises:
        ValueError: if the sample has none.
    """
    path = sample.get("img_path")
    if path is None:
        raise ValueError(expected("img_path", "in every data sample", "none", "Keep it in PackSegInputs' `meta_keys`."))
    return str(path)


def field(sample: dict, name: str) -> Any:
    """The ``data`` of one field of a sample.

    Raises:
        ValueError: if the sample has no such field.
    """
    if name not in sample:
        cure = "Let the test pipeline load annotations." if name == "gt_sem_seg" else "Use a segmentor's predictions."
        raise ValueError(expected(name, f"in the data sample of '{sample.get('img_path')}'", "none", cure))
    return sample[name]["data"]


def class_indices(sample: dict, name: str) -> np.ndarray:
    """A map of class indices as uint8 (H, W).

    Raises:
        ValueError: if a value does not fit into uint8: nothing wraps around.
    """
    data = field(sample, name)
    array = data.cpu().numpy() if isinstance(data, torch.Tensor) else np.asarray(data)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.dtype != np.uint8 and array.size and not (array.min() >= 0 and array.max() <= 255):
        raise ValueError(expected(name, "0 to 255", f"{array.min()} to {array.max()} in '{sample.get('img_path')}'"))
    return array.astype(np.uint8)


def unique_by_key(results: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """One value a key, sorted by key: repeated samples count once, and sums do not depend on the order."""
    return dict(sorted(dict(results).items(), key=lambda item: item[0]))
