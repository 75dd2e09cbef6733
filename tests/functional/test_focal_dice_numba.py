"""What is particular to Numba's loops; test_focal_dice_fused.py holds them against the plain version."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT

pytest.importorskip("numba", reason="the loops need Numba: pip install numba")

from cityseg_ext.functional import focal_dice_loops as loops
from cityseg_ext.functional.focal_dice_numba import NumbaFocalDiceSums
from cityseg_ext.functional.focal_dice_plain import plain_focal_dice_sums


def results(version, logits, target, **options):
    """Sums, and the gradient of a combination that touches them all."""
    logits = logits.detach().clone().requires_grad_()
    if version is NumbaFocalDiceSums:
        options = dict(class_weight=None, pixel_weight=None, gamma=2.0, ignore_index=255, align_corners=None) | options
        focal, norm, overlap, predicted, actual = version.apply(logits, target, *options.values())
    else:
        focal, norm, overlap, predicted, actual = version(logits, target, **options)
    (focal.sum() + (overlap / (1 + predicted)).sum()).backward()
    return focal, norm, overlap, predicted, actual, logits.grad


def in_64_bits(logits, target, align_corners):
    """But for the places that logits are interpolated at, which torch computes in the logits' type."""
    if align_corners is not None:
        logits = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=align_corners)
    return plain_focal_dice_sums(logits.double(), target)


@pytest.mark.parametrize("width", [1, loops.CHUNK - 1, loops.CHUNK, loops.CHUNK + 1, 3 * loops.CHUNK + 7])
@pytest.mark.parametrize("align_corners", [None, False, True])
@pytest.mark.parametrize("classes", [1, 2, 35])
def test_chunks_of_any_length(width, align_corners, classes):
    generator = torch.Generator().manual_seed(0)
    size = (5, width) if align_corners is None else (2, -(-width // 7))
    logits = 3 * torch.randn(2, classes, *size, generator=generator)
    target = torch.randint(0, classes, (2, 5, width), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    ours = results(NumbaFocalDiceSums, logits, target, align_corners=align_corners)
    exact = results(in_64_bits, logits, target, align_corners=align_corners)
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=2e-5, atol=2e-5)


def test_powers_and_logarithms_of_2_are_exact_to_the_last_bits():
    exponents = np.linspace(-126, 127, 200_001, dtype=np.float32)
    powers = np.array([loops.exp2(x) for x in exponents[::50]])
    np.testing.assert_allclose(powers, np.exp2(exponents[::50].astype(np.float64)), rtol=3e-7)
    numbers = np.exp2(np.random.default_rng(0).uniform(-40, 40, 4000)).astype(np.float32)
    logs = np.array([loops.log2(x) for x in numbers])
    np.testing.assert_allclose(logs, np.log2(numbers.astype(np.float64)), rtol=3e-7, atol=2e-7)


def test_what_has_no_logarithm_or_power_does_not_look_as_if_it_had():
    nan, inf = np.float32("nan"), np.float32("inf")
    assert loops.exp2(-inf) == 0 and loops.exp2(np.float32(-200)) == 0 and loops.exp2(np.float32(0)) == 1
    assert np.isnan(loops.exp2(nan)) and np.isnan(loops.log2(nan)) and np.isnan(loops.log2(inf))
    assert loops.log2(np.float32(1)) == 0


@pytest.mark.parametrize("junk", [float("nan"), float("inf")])
@pytest.mark.parametrize("channel", [0, 1])
def test_what_is_labelled_and_not_finite_reaches_loss_and_gradient(junk, channel):
    logits, target = torch.randn(1, 3, 2, 300), torch.zeros(1, 2, 300, dtype=torch.long)
    logits[0, channel, 1, 270] = junk
    focal, _, overlap, predicted, _, gradient = results(NumbaFocalDiceSums, logits, target)
    assert focal.isnan().all() and overlap[0, 0].isnan() and predicted.isnan().all()
    assert gradient[0, :, 1, 270].isnan().all() and gradient.isnan().sum() >= 3


def test_a_sure_mistake_costs_all_but_has_a_finite_gradient():
    logits, target = torch.zeros(1, 2, 1, 4), torch.zeros(1, 1, 4, dtype=torch.long)
    logits[:, 0] = -float("inf")
    focal, *_, gradient = results(NumbaFocalDiceSums, logits, target)
    assert focal == float("inf")
    assert gradient.isfinite().all()


CHILD = """
import sys
BLOCKED = {blocked}
if BLOCKED:
    sys.modules["numba"] = None
import torch
from cityseg_ext.functional.focal_dice import focal_dice
loss = focal_dice(torch.zeros(1, 2, 4, 4, requires_grad=True), torch.zeros(1, 4, 4, dtype=torch.long)).total
loss.backward()
print(round(loss.item(), 4), "cityseg_ext.functional.focal_dice_loops" in sys.modules)
"""


@pytest.mark.parametrize("blocked", [False, True])
def test_without_numba_or_a_place_for_its_files_the_loss_is_the_same(blocked, tmp_path):
    """A read-only package and home: compiled once a process, without a word."""
    environment = os.environ | dict(NUMBA_CACHE_DIR="", HOME=os.devnull, XDG_CACHE_HOME=os.devnull)
    code = CHILD.format(blocked=blocked)
    if not blocked:  # the folder beside the source cannot be written
        code = "import numba.core.caching as c\nc.CacheImpl._locator_classes = []\n" + code
    command = [sys.executable, "-W", "error::UserWarning:cityseg_ext", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.5799", str(not blocked)]
    assert "runs without" not in done.stderr
