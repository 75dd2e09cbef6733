"""Counts of single images, and their sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Record = TypeVar("Record")


def add_up(records: Sequence[Record]) -> Record:
    """Add the counts of images, to the same bits in whatever order they come.

    Integers are added as int64. Floats are added by :func:`math.fsum`, which rounds once, after an exact sum.

    Args:
        records: data classes of arrays (one type, equal shapes), at least one.

    Returns:
        A record of the same type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Sums:
        ...     value: npt.NDArray[np.float64]
        >>> add_up([Sums(np.array([1e16])), Sums(np.array([1.0])), Sums(np.array([-1e16]))])
        Sums(value=array([1.]))
    """
    values: Any = [astuple(record) for record in records]  # type: ignore[call-overload]
    return type(records[0])(*(_add(parts) for parts in zip(*values, strict=True)))


def _add(parts: tuple[npt.NDArray[np.generic], ...]) -> npt.NDArray[np.generic]:
    stack = np.stack(parts)
    if np.issubdtype(stack.dtype, np.integer):
        return stack.sum(axis=0, dtype=np.int64)
    columns = stack.reshape(len(parts), -1).T.tolist()
    return np.array([math.fsum(column) for column in columns]).reshape(stack.shape[1:])
