"""Whether compiled versions of the sums of the focal and the Dice term can be relied on."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch

from cityseg_ext.functional.focal_dice_plain import FocalDiceSums, plain_focal_dice_sums
from cityseg_ext.labels import IGNORE_INDEX


@cache
def agrees(version: Any, compiler: str, device: torch.device) -> bool:
    """Whether a compiled version gives a device's plain results on a small batch: tried once, before it is relied on.

    Compilers and devices are many. Where nothing can be compiled, or is wrong, a warning says so and other versions are
    used.

    Args:
        version: an autograd function, such as ``TritonFocalDiceSums``.
        compiler: its name, for the warning.
        device: to try it on.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the first caller is doing
            _compare(version, device)
    except Exception as error:  # whatever a compiler, a driver or the comparison says
        message = f"The loss runs without what {compiler} compiles for it on {device}: {error}"
        warnings.warn(message, stacklevel=2)
        return False
    return True


def _compare(version: Any, device: torch.device) -> None:
    """Raise an error unless sums and gradient are the plain ones."""
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(2, 5, 3, 4, generator=generator).to(device)
    target = torch.randint(5, (2, 9, 16), generator=generator).to(device)
    target[0, 0] = IGNORE_INDEX
    for logits, align_corners in ((small, False), (small, True), (small.repeat(1, 1, 3, 4), None)):
        results = []
        for compiled in (False, True):
            leaf = logits.clone().requires_grad_()
            if compiled:
                sums = FocalDiceSums(*version.apply(leaf, target, None, None, 2.0, IGNORE_INDEX, align_corners))
            else:
                sums = plain_focal_dice_sums(leaf, target, align_corners=align_corners)
            (sums.focal.sum() + (sums.overlap / (1 + sums.predicted)).sum()).backward()
            results.append([*sums, leaf.grad])
        for plain, ours in zip(*results, strict=True):
            torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)
