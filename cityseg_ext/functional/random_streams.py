"""Random numbers that depend on where they are drawn, and on nothing that was drawn before."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_stream(*key: int) -> None:
    """Set all global generators, of ``random``, NumPy and PyTorch on every device, to the stream that a key names.

    A process that knows where it is, such as (seed, epoch, position), needs no state of an earlier process to go on
    with the same numbers. Streams of different keys are independent, because NumPy's ``SeedSequence`` mixes the key.
    It fills a short key up with zeros: (0, 3) and (0, 3, 0) name one stream.

    Args:
        key: integers from 0 on.

    Example:
        >>> seed_stream(0, 3, 7)
        >>> first = np.random.rand(), random.random(), torch.rand(1).item()
        >>> seed_stream(0, 3, 8)
        >>> other = np.random.rand(), random.random(), torch.rand(1).item()
        >>> seed_stream(0, 3, 7)
        >>> first == (np.random.rand(), random.random(), torch.rand(1).item()), set(first) & set(other)
        (True, set())
    """
    words = np.random.SeedSequence(key).generate_state(6)
    np.random.seed(words[:4])
    random.seed(int(words[4]))
    torch.manual_seed(int(words[5]))
