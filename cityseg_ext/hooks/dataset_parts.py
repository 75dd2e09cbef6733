"""The data sets of images inside wrappers."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Dataset


def parts_of(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets inside wrappers that repeat, mix or join some; a data set that wraps none is its own one part.

    Args:
        dataset: any.
    """
    if hasattr(dataset, "datasets"):
        for part in dataset.datasets:
            yield from parts_of(part)
    elif hasattr(dataset, "dataset"):
        yield from parts_of(dataset.dataset)
    else:
        yield dataset
