"""Reading, computing and writing at the same time: one thread ahead of the caller, and one behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
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
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(depth))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(next, iterator, _END))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)


class WriteBehind:
    """Calls a function in a thread, in the order of the calls; a ``with`` block ends when all are done.

    Args:
        function: what to call. Its errors are raised by a later call, or by the end of the block.
        depth: how many calls wait at most; then the next one does.

    Example:
        >>> done = []
        >>> with WriteBehind(done.append, depth=2) as append:
        ...     for item in range(5):
        ...         append(item)
        >>> done
        [0, 1, 2, 3, 4]
    """

    def __init__(self, function: Callable[..., object], depth: int) -> None:
        self._function, self._depth = function, depth
        self._pool = ThreadPoolExecutor(1)
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
