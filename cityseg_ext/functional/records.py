"""Counts of single images, and their sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Record = TypeVar("Record", bound=tuple)


def add_up(records: Sequence[Record]) -> Record:
    """Add the counts of images, to the same bits in whatever order they come.

    Integers are added as int64. Floats are added by :func:`math.fsum`, which rounds once, after an exact sum.

    Args:
        records: named tuples of arrays (one type, equal shapes), at least one.

    Returns:
        A record of the same type.

    Example:
        >>> class Sums(NamedTuple):
        ...     value: npt.NDArray[np.float64]
        >>> add_up([Sums(np.array([1e16])), Sums(np.array([1.0])), Sums(np.array([-1e16]))])
        Sums(value=array([1.]))
    """
    return type(records[0])(*(_add(parts) for parts in zip(*records, strict=True)))


def _add(parts: tuple[npt.NDArray[np.generic], ...]) -> npt.NDArray[np.generic]:
    stack = np.stack(parts)
    if np.issubdtype(stack.dtype, np.integer):
        return stack.sum(axis=0, dtype=np.int64)
    columns = stack.reshape(len(parts), -1).T.tolist()
    return np.array([math.fsum(column) for column in columns]).reshape(stack.shape[1:])
