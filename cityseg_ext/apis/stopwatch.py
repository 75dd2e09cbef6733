"""The time of each part of a repeated step."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REST = "other"
"""The part that has what no other part has."""


class Stopwatch:
    """Times the parts of a step; while a part runs inside another, only the inner one's time counts.

    Args:
        synchronize: waits until a device has done what it was told to; called where a part begins or ends.

    Attributes:
        steps: of every finished step: part -> seconds.

    Example:
        >>> watch = Stopwatch()
        >>> watch.start()
        >>> with watch.part("loss"):
        ...     pass
        >>> watch.finish_step()
        >>> sorted(watch.steps[0])
        ['loss', 'other']
    """

    def __init__(self, synchronize: Callable[[], None] = lambda: None) -> None:
        self.steps: list[dict[str, float]] = []
        self._synchronize = synchronize
        self._current: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = 0.0

    def start(self) -> None:
        """Begin the first step."""
        self._open = [REST]
        self._since = time.perf_counter()

    def finish_step(self) -> None:
        """End a step and begin the next."""
        self._book()
        self.steps.append(dict(self._current))
        self._current.clear()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what runs inside as a part; before :meth:`start` nothing is counted."""
        if not self._open or self._open[-1] == name:  # a method that calls itself
            yield
            return
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def wrap(self, owner: object, method: str, name: str) -> None:
        """Count a method of one object as a part, from now on."""
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def timed(*arguments, **options):
            with self.part(name):
                return inner(*arguments, **options)

        setattr(owner, method, timed)

    def _book(self) -> None:
        """Give the time since the last change to the innermost part."""
        self._synchronize()
        now = time.perf_counter()
        self._current[self._open[-1]] += now - self._since
        self._since = now
