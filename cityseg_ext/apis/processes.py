"""The same work on many items, on all cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
import torch

from cityseg_ext.checks import expected

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 61  # what Windows can wait for


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None, argument: str
) -> Iterator[Result]:
    """``map``, in order, over processes of one thread each.

    If the iterator is closed early, or the program interrupted, items in work are finished and no other is begun.

    Args:
        function: a function that can be pickled.
        items: what to call it with.
        workers: processes; None for as many as there are cores that this process may use; 0 and 1 work in this one.
        argument: what the user calls ``workers``, for the error message.

    Raises:
        ChildProcessError: if a process was killed.
    """
    workers = min(usable_cores() if workers is None else workers, len(items), _MOST)
    if workers <= 1:
        yield from map(function, items)
        return
    threads = cv2.getNumThreads()
    # Before the fork: a child that inherits OpenCV's threads waits for them for ever as soon as their number changes.
    cv2.setNumThreads(1)
    with ProcessPoolExecutor(workers, initializer=_start_worker) as pool:
        try:
            yield from pool.map(function, items)
        except BrokenProcessPool as error:
            value = f"{workers}, of which one was killed"
            cure = f"Files written so far are whole. Run again with fewer: --{argument.replace('_', '-')} 1."
            raise ChildProcessError(expected(argument, "as many as there is memory for", value, cure)) from error
        finally:
            pool.shutdown(cancel_futures=True)
            cv2.setNumThreads(threads)


def _start_worker() -> None:
    """One thread each; an interrupt is the parent's business; and no worker outlives a parent that was killed."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what the parent does: with it the pool ends its processes
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def usable_cores() -> int:
    """In a container that is often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
