"""Work on blocks of logits, shared out among threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from cityseg_ext.functional.logit_blocks import LogitBlocks


def walk(blocks: LogitBlocks, work: Callable[..., None], buffers: int) -> None:
    """Do the work on every block, in as many threads as torch may use, each with its own buffers."""
    todo = iter(range(len(blocks)))  # shared: whoever is free takes the next one
    inference = torch.is_inference_mode_enabled()  # which other threads do not know of

    def worker() -> None:
        with torch.inference_mode(inference), torch.no_grad(), torch.autocast(blocks.device.type, enabled=False):
            own = [blocks.new_buffer() for _ in range(buffers)]
            for index in todo:
                work(index, *own)

    workers = min(torch.get_num_threads(), len(blocks)) if blocks.device.type == "cpu" else 1
    if workers <= 1:
        return worker()
    with _one_thread_an_operator(), ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(worker) for _ in range(workers)]:
            done.result()
    return None


@contextmanager
def _one_thread_an_operator() -> Iterator[None]:
    """New threads inherit torch's setting: operators on blocks are too short for threads of their own.

    On a busy machine these would wait for each other at every operator, for whole time slices.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
