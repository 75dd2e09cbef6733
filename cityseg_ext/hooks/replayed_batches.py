"""Batches that are the same whoever loads them, and that can be taken up in the middle."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import InfiniteSampler
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from cityseg_ext.functional.random_streams import seed_stream


class Draw(int):
    """An index into a data set that carries the name of its stream of random numbers, into workers too."""

    key: tuple[int, ...]

    def __new__(cls, index: int, key: tuple[int, ...]) -> Draw:
        draw = super().__new__(cls, index)
        draw.key = key
        return draw

    def __reduce__(self) -> tuple:
        return Draw, (int(self), self.key)


class StreamedDataset(Dataset):
    """A data set whose samples are augmented by random numbers of their own, whichever process loads them."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, draw: Draw) -> Any:
        seed_stream(*draw.key)
        return self.dataset[int(draw)]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):  # before it is unpickled, and protocols of PyTorch
            raise AttributeError(name)
        return getattr(self.dataset, name)


class ReplayedBatches(Sampler):
    """The batches of another batch sampler, of draws; they can begin in the middle without loading what was before.

    Args:
        batches: a batch sampler whose order depends on its sampler's epoch only.
        key: what comes before (epoch, position in it) in the names of streams.
    """

    def __init__(self, batches: Any, key: tuple[int, ...]) -> None:
        self.batches, self.key = batches, key
        self.epoch = self.start = 0

    @property
    def sampler(self) -> Any:
        """The sampler of single images."""
        return getattr(self.batches, "sampler", None)

    @property
    def endless(self) -> bool:
        """Whether there is one pass that never ends."""
        return isinstance(self.sampler, InfiniteSampler)

    def begin(self, epoch: int, start: int) -> None:
        """Let the next iteration be that of an epoch, from batch number ``start`` on."""
        self.epoch, self.start = epoch, start
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[Draw]]:
        position = 0
        for number, batch in enumerate(self.batches):
            if number >= self.start:
                yield [Draw(index, (*self.key, self.epoch, place)) for place, index in enumerate(batch, start=position)]
            position += len(batch)

    def __len__(self) -> int:
        return len(self.batches)


class ReplayedIterator:
    """What an ``IterBasedTrainLoop`` takes its batches from, as if ``done`` of them had been loaded already.

    The loop itself passes over these, one by one or by ``skip_iter``: for each it gets None.
    """

    def __init__(self, loader: DataLoader, done: int) -> None:
        self._items = itertools.chain(itertools.repeat(None, done), _batches_from(loader, done))

    def __iter__(self) -> ReplayedIterator:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def skip_iter(self, number: int) -> None:
        """Pass over batches; mmengine from 0.10.8 on calls it."""
        for _ in range(number):
            next(self)


def replayed(loader: DataLoader, key: tuple[int, ...]) -> DataLoader | None:
    """A loader of the same batches, with streams; None for a data set that only iterates and knows no positions."""
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return None
    batches = loader.batch_sampler
    if isinstance(getattr(batches, "sampler", None), InfiniteSampler):
        batches = copy.copy(batches)  # mmengine's goes on where it was left, and workers may have drawn from it
        old, batches.sampler = batches.sampler, copy.copy(batches.sampler)
        InfiniteSampler.__init__(batches.sampler, old.dataset, old.shuffle, old.seed)
    workers = {}
    if loader.num_workers > 0:
        names = ("prefetch_factor", "persistent_workers", "multiprocessing_context")
        workers = {name: getattr(loader, name) for name in names}
    return DataLoader(
        StreamedDataset(loader.dataset),
        batch_sampler=ReplayedBatches(batches, key),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        **workers,
    )


def _batches_from(loader: DataLoader, done: int) -> Iterator[Any]:
    batches: ReplayedBatches = loader.batch_sampler
    epoch, start = (0, done) if batches.endless else divmod(done, len(batches))
    while True:
        batches.begin(epoch, start)
        yield from loader
        epoch, start = epoch + 1, 0
