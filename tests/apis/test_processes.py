import multiprocessing
import os
import signal
import time

import cv2
import numpy as np
import pytest

from cityseg_ext.apis.processes import map_in_processes


def square(number):
    return number * number


def describe(number):
    return os.getpid(), cv2.getNumThreads(), cv2.resize(np.full((64, 64), number, np.uint8), (512, 512)).max()


def handler_of_sigterm(number):
    return signal.getsignal(signal.SIGTERM)


def die(number):
    os._exit(9)


@pytest.mark.parametrize("workers", [0, 1, 2, None])
def test_results_come_in_order(workers):
    assert list(map_in_processes(square, range(20), workers, "workers")) == [n * n for n in range(20)]


def test_opencv_threads_of_the_parent_do_not_stop_the_children():
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 0)  # starts OpenCV's threads
        start = time.monotonic()
        found = list(map_in_processes(describe, range(6), 2, "workers"))
        assert time.monotonic() - start < 60
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)
    assert {threads for _, threads, _ in found} == {1} and [value for _, _, value in found] == list(range(6))
    assert os.getpid() not in {process for process, _, _ in found}


def test_processes_can_be_terminated_whatever_their_parent_does():
    """A run that trains takes signals for a wish to save; inherited, that would keep the pool's processes alive."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert set(map_in_processes(handler_of_sigterm, range(4), 2, "workers")) == {signal.SIG_DFL}
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_killed_process_is_an_error_with_a_cure():
    with pytest.raises(ChildProcessError, match="`num_workers`.*one was killed.*--num-workers 1"):
        list(map_in_processes(die, range(4), 2, "num_workers"))


def test_stopping_early_leaves_no_process_behind():
    before = set(multiprocessing.active_children())
    results = map_in_processes(square, range(1000), 2, "workers")
    assert next(results) == 0 and len(set(multiprocessing.active_children()) - before) == 2
    results.close()
    assert not set(multiprocessing.active_children()) - before
