"""Reading, computing and writing at the same time: threads ahead of the caller, and threads behind it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def read_ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The items, fetched by a thread while the caller works on those before.

    Args:
        items: may raise; the caller gets the error in its turn.
        depth: how many items wait at most.

    Yields:
        The items in their order. Close the generator to end the thread early.

    Example:
        >>> list(read_ahead("abc", depth=2))
        ['a', 'b', 'c']
    """
    iterator = iter(items)
    with closing(map_ahead(lambda _: next(iterator, _END), itertools.repeat(None), depth)) as fetched:
        yield from itertools.takewhile(lambda item: item is not _END, fetched)


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], depth: int, threads: int = 1
) -> Iterator[Result]:
    """What a function gives for each item, computed by threads while the caller works on the results before.

    Args:
        function: may raise; the caller gets the error in its turn.
        items: its arguments.
        depth: how many results wait at most.
        threads: how many calls run at once.

    Yields:
        The results in the order of the items. Close the generator to end the threads early.

    Example:
        >>> list(map_ahead(str.upper, "abc", depth=2, threads=2))
        ['A', 'B', 'C']
    """
    rest = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        try:
            waiting = deque(pool.submit(function, item) for item in itertools.islice(rest, depth))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in itertools.islice(rest, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


class WriteBehind:
    """Calls a function in a thread, in the order of the calls; a ``with`` block ends when all are done.

    Several threads begin the calls in their order, and may end them in another.

    Args:
        function: what to call. Its errors are raised by a later call, or by the end of the block.
        depth: how many calls wait at most; then the next one does.
        threads: how many calls run at once.

    Example:
        >>> done = []
        >>> with WriteBehind(done.append, depth=2) as append:
        ...     for item in range(5):
        ...         append(item)
        >>> done
        [0, 1, 2, 3, 4]
    """

    def __init__(self, function: Callable[..., object], depth: int, threads: int = 1) -> None:
        self._function, self._depth = function, depth
        self._pool = ThreadPoolExecutor(threads)
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> WriteBehind:
        return self

    def __call__(self, *arguments: object) -> None:
        while len(self._waiting) >= self._depth:
            self._waiting[0].result()  # stays in the queue until then: an interrupt loses no error
            self._waiting.popleft()
        self._waiting.append(self._pool.submit(self._function, *arguments))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            while error is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)
