"""The Triton kernels against the plain version: on a GPU if there is one, else in Triton's interpreter (see conftest).

Triton comes with torch for GPUs; beside torch for CPUs `pip install triton` adds it (and changes nothing else).
"""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

pytest.importorskip("triton", reason="Triton is not installed: it comes with torch for GPUs")

from cityseg_ext.functional import focal_dice_triton
from cityseg_ext.functional.focal_dice import _fused_version, focal_dice_from_sums
from cityseg_ext.functional.focal_dice_blocks import BlockwiseFocalDiceSums
from cityseg_ext.functional.focal_dice_plain import FocalDiceSums, plain_focal_dice_sums
from cityseg_ext.functional.focal_dice_triton import TritonFocalDiceSums, triton_can_run

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several programs an image, the last one with less to do."""
    monkeypatch.setattr(focal_dice_triton, "BLOCK", 32)
    monkeypatch.setattr(focal_dice_triton, "STEPS", 2)


def batch(dtype=torch.float64, size=(5, 14), classes=5, small=None):
    """Some void, the last class absent, one image with void only; logits of a size of their own if wanted."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, classes, *(small or size), dtype=torch.float64, generator=generator)
    target = torch.randint(0, max(classes - 1, 1), (2, *size), generator=generator)
    target[torch.rand(2, *size, generator=generator) < 0.15] = 255
    target[1] = 255
    return logits.to(DEVICE, dtype), target.to(DEVICE)


def weights_of(target, classes=5):
    generator = torch.Generator().manual_seed(1)
    class_weight = 0.1 + torch.rand(classes, generator=generator)
    pixel_weight = torch.rand(target.shape, generator=generator)
    pixel_weight[:, :2] = 0
    return dict(class_weight=class_weight.to(DEVICE), pixel_weight=pixel_weight.to(DEVICE))


def kernels(logits, target, *, gamma=2.0, class_weight=None, pixel_weight=None, align_corners=None, ignore_index=255):
    return FocalDiceSums(
        *TritonFocalDiceSums.apply(logits, target, class_weight, pixel_weight, gamma, ignore_index, align_corners)
    )


def results(version, logits, target, **options):
    """Sums, and the gradient of a combination that touches them all."""
    logits = logits.detach().requires_grad_()
    sums = version(logits, target, **options)
    loss = (sums.focal * torch.arange(1.0, 1 + len(logits), device=DEVICE)).sum()
    for part, factor in ((sums.overlap, 0.7), (sums.predicted, 1.3)):
        loss = loss + (part * torch.linspace(-factor, 1, part.numel(), device=DEVICE).view_as(part)).sum()
    return *sums, torch.autograd.grad(loss, logits)[0]


def assert_same(logits, target, rtol=1e-7, atol=1e-7, **options):
    ours, plain = (results(version, logits, target, **options) for version in (kernels, plain_focal_dice_sums))
    for one, other in zip(ours, plain, strict=True):
        assert one.dtype == other.dtype
        low = one.dtype in (torch.float16, torch.bfloat16)
        torch.testing.assert_close(one, other, rtol=torch.finfo(one.dtype).eps if low else rtol, atol=atol)
    return ours


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_sums_and_gradient_are_the_plain_ones(gamma, weighted):
    logits, target = batch()
    assert_same(logits, target, gamma=gamma, **(weights_of(target) if weighted else {}))


@pytest.mark.parametrize("pool", ["batch", "image"])
@pytest.mark.parametrize("absent", ["skip", "count"])
def test_the_loss_of_every_option_is_the_plain_one(pool, absent):
    logits, target = batch()
    weights = weights_of(target)
    losses = []
    for version in (kernels, plain_focal_dice_sums):
        x = logits.detach().requires_grad_()
        sums = version(x, target, **weights)
        class_weight = weights["class_weight"]
        loss = focal_dice_from_sums(sums, class_weight=class_weight, dice_pool=pool, absent=absent, smooth=0.5)
        losses.append((*loss, torch.autograd.grad(loss.total, x)[0]))
    for one, other in zip(*losses, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_types(dtype):
    logits, target = batch(dtype)
    assert assert_same(logits, target, rtol=1e-5, atol=1e-5)[-1].is_contiguous()


def test_channels_last():
    logits, target = batch()
    gradient = assert_same(logits.contiguous(memory_format=torch.channels_last), target)[-1]
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_other_types(dtype):
    logits, target = batch()
    assert_same(logits, target.to(dtype))


@pytest.mark.parametrize(("size", "classes"), [((1, 1), 5), ((1, 41), 1), ((41, 1), 2), ((3, 3), 19), ((3, 3), 64)])
def test_sizes(size, classes):
    logits, target = batch(size=size, classes=classes)
    assert_same(logits, target)


@pytest.mark.parametrize("view", ["every other column", "a crop", "transposed", "expanded", "one image"])
def test_views(view):
    logits, target = batch(size=(4, 7))
    weights = weights_of(target)
    views = {
        "every other column": lambda x: x[..., ::2],
        "a crop": lambda x: x[..., 2:, 3:],
        "transposed": lambda x: x.mT,
        "expanded": lambda x: x[:1].expand(2, *x.shape[1:]),
        "one image": lambda x: x[:1],
    }
    view = views[view]
    weights["pixel_weight"] = view(weights["pixel_weight"])
    assert_same(view(logits), view(target), **weights)


def test_offsets_beyond_32_bits():
    logits, target = batch(torch.float16, size=(1, 4))
    stride = 2**29  # the last of five classes is 2**31 numbers on, in memory that is never touched
    apart = logits.new_empty(4 * stride + 12).as_strided(logits.shape, (4, stride, 4, 1))
    apart.copy_(logits)
    for one, other in zip(results(kernels, apart, target), results(kernels, logits, target), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0, 5, 9, 7), (2, 5, 0, 7)])
def test_nothing_at_all(shape):
    logits = torch.randn(shape, device=DEVICE)
    target = torch.zeros(shape[0], *shape[2:], dtype=torch.long, device=DEVICE)
    assert_same(logits, target)


UPSAMPLED = [((2, 3), (8, 12)), ((2, 4), (5, 9)), ((1, 1), (5, 6)), ((3, 2), (3, 8)), ((2, 1), (2, 17))]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("small", "size"), UPSAMPLED)
def test_upsampling_inside_equals_upsampling_before(align_corners, small, size):
    logits, target = batch(size=size, small=small)
    assert_same(logits, target, align_corners=align_corners, **weights_of(target))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_types_and_layouts_of_small_logits(dtype):
    logits, target = batch(dtype, size=(4, 12), small=(1, 3))
    # The small gradient adds up many pixels.
    tolerance = 1e-5 if dtype == torch.float32 else 3 * torch.finfo(dtype).eps
    assert_same(
        logits.contiguous(memory_format=torch.channels_last), target, align_corners=False, rtol=1e-5, atol=tolerance
    )


@pytest.mark.parametrize("small", [None, (1, 3)])
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -float("inf")])
def test_void_pixels_have_no_effect_whatever_they_hold(junk, small):
    logits, target = batch(size=(4, 12), small=small)
    if small:
        target[:, :, :8] = 255  # all that looks at the first source
        where = (slice(None), slice(None), slice(None), 0)
    else:
        where = (target == 255)[:, None].expand_as(logits)
    spoilt = logits.clone()
    spoilt[where] = junk
    align_corners = False if small else None
    clean, other = (results(kernels, x, target, align_corners=align_corners) for x in (logits, spoilt))
    for one, two in zip(clean, other, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("channel", [0, 1])
def test_void_pixels_have_no_effect_where_only_one_logit_is_junk(channel):
    logits, target = batch(size=(4, 12))
    spoilt = logits.clone()
    spoilt[:, channel][target == 255] = -float("inf")
    for one, two in zip(results(kernels, logits, target), results(kernels, spoilt, target), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_an_all_void_batch_has_no_gradient():
    logits, target = batch()
    sums = results(kernels, logits, torch.full_like(target, 255))
    assert all((part == 0).all() for part in sums)


def test_a_labelled_nan_is_not_hidden():
    logits, target = batch()
    target[0, 0, 0] = 1
    logits[0, 0, 0, 0] = float("nan")
    assert kernels(logits, target).focal[0].isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_finite_at_huge_logits(dtype):
    logits, target = batch(dtype)
    for gamma in (0.0, 0.5, 2.0):
        for result in results(kernels, 1e4 * logits.sign(), target, gamma=gamma):
            assert result.isfinite().all()


@pytest.mark.parametrize("align_corners", [None, False])
def test_labels_out_of_range_are_named(align_corners):
    logits, target = batch(size=(6, 12), small=None if align_corners is None else (2, 3))
    target[0, 0, 0], target[1, 5, 6], target[1, 5, 7] = 5, -1, 2**40
    with pytest.raises(ValueError, match=f"`target` to be 0 to 4, or 255 for void, but got -1, 5, {2**40}"):
        kernels(logits, target, align_corners=align_corners)


def test_a_class_may_be_the_ignored_one():
    logits, target = batch()
    target[target == 255] = 0
    assert_same(logits, target, ignore_index=0)


@pytest.mark.parametrize("small", [None, (1, 3)])
def test_every_run_gives_the_same(small):
    logits, target = batch(torch.float32, size=(4, 12), small=small)
    runs = [results(kernels, logits, target, align_corners=False) for _ in range(2)]
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_second_derivatives_are_those_of_the_plain_version():
    logits = torch.randn(1, 2, 1, 2, dtype=torch.float64, device=DEVICE, requires_grad=True)
    target = torch.tensor([[[0, 1]]], device=DEVICE)
    assert torch.autograd.gradgradcheck(lambda x: focal_dice_from_sums(kernels(x, target)).total, logits)


def test_who_computes():
    logits = torch.zeros(1, 5, 2, 3, device=DEVICE)
    fallback = BlockwiseFocalDiceSums if DEVICE == "cpu" else TritonFocalDiceSums
    target = torch.zeros(1, 2, 3, dtype=torch.long, device=DEVICE)
    assert _fused_version(logits, target, None, None, None) is fallback
    assert _fused_version(logits, target, torch.ones(5, requires_grad=True), None, None) is None


@pytest.mark.parametrize(
    ("classes", "size", "align_corners", "runs"),
    [
        (64, (2, 3), None, True),
        (65, (2, 3), None, False),  # registers
        (5, (128, 192), False, True),
        (5, (128, 193), False, False),  # more than 64 times as wide
        (5, (1, 3), True, False),  # smaller
    ],
)
def test_what_has_kernels(monkeypatch, classes, size, align_corners, runs):
    logits = torch.zeros(1, classes, 2, 3, device="meta")
    monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda"))
    assert triton_can_run(logits, torch.zeros(1, *size, device="meta"), align_corners) is runs


COMPILE = r"""
import re

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from cityseg_ext.functional import focal_dice_cell_kernels as cells, focal_dice_kernels as whole

def compile(kernel, **constants):
    tl = whole.tl
    constants |= dict(CLASSES=19, PADDED=32, GAMMA=2.0, VOID=255, DTYPE=tl.float32, BLOCK=128, pixel_weight=None)
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    pointers = dict(logits="*bf16", target="*i64", class_weight="*fp32", out="*fp32")
    pointers |= dict.fromkeys(("by_focal", "by_overlap", "by_predicted"), "*fp32")
    kinds = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    code = triton.compile(ASTSource(kernel, kinds, places), target=GPUTarget("cuda", 90, 32)).asm
    assert not re.search(r"\b(atom|red)\.", code["ptx"])
    # Threads lie along pixels: otherwise those that load together would load from 32 places.
    assert "threadsPerWarp = [1, 32]" in code["ttgir"] and "threadsPerWarp = [32, 1]" not in code["ttgir"]

compile(whole.sums_kernel, STEPS=16)
compile(whole.gradient_kernel)
compile(cells.cell_sums_kernel, SPAN=8)
compile(cells.cell_gradient_kernel, SPAN=8)
"""


def test_the_kernels_compile_for_a_gpu(tmp_path):
    """Which needs none; the interpreter is less strict than the compiler."""
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
