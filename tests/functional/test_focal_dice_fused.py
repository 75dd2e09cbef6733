"""The fused sums, by torch in blocks and by Numba's loops, against the plain ones (see test_focal_dice.py)."""

import itertools
import sys

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from cityseg_ext.functional import focal_dice_kernels, logit_blocks
from cityseg_ext.functional.focal_dice import _fused_version, focal_dice, focal_dice_sums
from cityseg_ext.functional.focal_dice_blocks import BlockwiseFocalDiceSums
from cityseg_ext.functional.focal_dice_numba import NumbaFocalDiceSums
from cityseg_ext.functional.focal_dice_plain import plain_focal_dice_sums
from cityseg_ext.functional.focal_dice_trial import agrees

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]
GAMMAS = (0.0, 0.5, 1.0, 2.0, 3.0)


@pytest.fixture(autouse=True, params=["blocks", "loops"])
def version(request, monkeypatch):
    """Several blocks an image, the last one smaller, for both versions: the loops' numbers have 32 bits."""
    for name in ("CPU_BLOCK", "LOOP_BLOCK"):
        monkeypatch.setattr(logit_blocks, name, 100)
    monkeypatch.setattr(logit_blocks, "COLUMNS", 4)
    if request.param == "loops":
        pytest.importorskip("numba", reason="the loops need Numba: pip install numba")
        monkeypatch.setattr(sys.modules[__name__], "DTYPE", torch.float32)
    else:
        monkeypatch.setattr("cityseg_ext.functional.focal_dice.numba_can_run", lambda logits: False)
    return request.param


DTYPE = torch.float64


def close(ours, theirs, size=1, **options):
    """As good as the numbers are for logits of that size, which both versions see rounded."""
    tolerance = {} if ours.dtype == torch.float64 else dict(rtol=1e-5 * size, atol=1e-5 * size)
    torch.testing.assert_close(ours, theirs, **tolerance | options)


def batch(dtype=None, device="cpu", size=(9, 7), classes=5):
    """Some void, the last class absent, one image with void only."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, classes, *size, dtype=torch.float64, generator=generator)
    target = torch.randint(0, classes - 1, (3, *size), generator=generator)
    target[torch.rand(3, *size, generator=generator) < 0.15] = 255
    target[1] = 255
    return logits.to(device, dtype or DTYPE).requires_grad_(), target.to(device)


def weights_of(target, classes=5, by_class=True, by_pixel=True):
    generator = torch.Generator().manual_seed(1)
    class_weight = 0.1 + torch.rand(classes, generator=generator)
    pixel_weight = torch.rand(target.shape, generator=generator)
    pixel_weight[:, :2] = 0
    return dict(
        class_weight=class_weight.to(target.device) if by_class else None,
        pixel_weight=pixel_weight.to(target.device) if by_pixel else None,
    )


def both(logits, target, **options):
    """Value and gradient of the fused and of the plain version, by a combination of sums that touches them all."""
    results = []
    for function in (focal_dice_sums, plain_focal_dice_sums):
        sums = function(logits, target, **options)
        loss = (sums.focal * torch.arange(1.0, 4.0, device=logits.device)).sum()
        for part, factor in ((sums.overlap, 0.7), (sums.predicted, 1.3)):
            loss = loss + (part * torch.linspace(-factor, 1, part.numel(), device=part.device).view_as(part)).sum()
        results.append((*sums, torch.autograd.grad(loss, logits)[0]))
    return results


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize(("by_class", "by_pixel"), [*itertools.product([False, True], repeat=2)])
def test_sums_and_gradient_are_the_plain_ones(device, gamma, by_class, by_pixel):
    logits, target = batch(device=device)
    fused, plain = both(logits, target, gamma=gamma, **weights_of(target, by_class=by_class, by_pixel=by_pixel))
    for ours, theirs in zip(fused, plain, strict=True):
        close(ours, theirs, check_dtype=False)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [(9, 7), (1, 1), (41, 1), (1, 41), (5, 41)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_types_sizes_and_layouts(device, dtype, size, layout):
    logits, target = batch(dtype, device, size)
    logits = logits.detach().contiguous(memory_format=layout).requires_grad_()
    fused, plain = both(logits, target)
    for ours, theirs in zip(fused, plain, strict=True):
        assert ours.dtype == theirs.dtype
        coarse = dict(rtol=torch.finfo(dtype).eps, atol=1e-5) if ours.dtype == dtype != torch.float32 else {}
        torch.testing.assert_close(ours, theirs, **(coarse or dict(rtol=1e-5, atol=1e-5)))
    assert fused[-1].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("view", ["every other column", "a crop", "classes last", "expanded"])
def test_logits_that_are_views(view):
    logits, target = batch(size=(9, 14))
    logits = logits.detach()
    logits, target = {
        "every other column": lambda: (logits[..., ::2], target[..., ::2]),
        "a crop": lambda: (logits[:, :, 2:, 3:], target[:, 2:, 3:]),
        "classes last": lambda: (logits.permute(0, 1, 3, 2), target.mT),
        "expanded": lambda: (logits[:1].expand(3, -1, -1, -1), target),
    }[view]()
    for ours, theirs in zip(*both(logits.requires_grad_(), target), strict=True):
        close(ours, theirs)


def test_offsets_beyond_32_bits():
    logits, target = batch(torch.float16, size=(1, 4))
    stride = 2**29  # the last of five classes is 2**31 numbers on, in memory that is never touched
    apart = logits.detach().new_empty(4 * stride + 12).as_strided(logits.shape, (4, stride, 4, 1))
    apart.copy_(logits.detach())
    for one, other in zip(both(apart.requires_grad_(), target)[0], both(logits, target)[0], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0, 5, 9, 7), (2, 5, 0, 7), (2, 5, 9, 0)])
def test_nothing_at_all(shape):
    logits = torch.randn(shape, requires_grad=True)
    loss = focal_dice(logits, torch.zeros(shape[0], *shape[2:], dtype=torch.long)).total
    loss.backward()
    assert loss == 0 and logits.grad.shape == shape


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("small", "size"), [((9, 7), (41, 29)), ((5, 3), (40, 24)), ((1, 1), (9, 7)), ((9, 7), (4, 5))]
)
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_upsampling_inside_equals_upsampling_before(align_corners, small, size, dtype):
    logits, _ = batch(dtype, size=small)
    _, target = batch(size=size)
    fused, plain = both(logits, target, align_corners=align_corners, **weights_of(target))
    tolerance = {} if logits.dtype == torch.float64 else dict(rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, check_dtype=False, **tolerance)


@pytest.mark.parametrize("version", ["blocks"], indirect=True)  # finite differences need 64 bits
@pytest.mark.parametrize("align_corners", [None, False, True])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("pool", ["batch", "image"])
@pytest.mark.parametrize("absent", ["skip", "count"])
def test_gradients_are_those_of_finite_differences(align_corners, gamma, pool, absent):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 255, 0, 1, 1]).repeat(2).view(2, 3, 2)
    if align_corners is not None:
        target = target.repeat_interleave(2, 1)
    options = dict(gamma=gamma, dice_pool=pool, absent=absent, class_weight=torch.tensor([1.0, 0.5, 2.0]))
    pixel_weight = torch.linspace(0.5, 1, target.numel()).view_as(target)

    def loss(x):
        return focal_dice(x, target, **options, pixel_weight=pixel_weight, align_corners=align_corners).total

    assert torch.autograd.gradcheck(loss, logits)
    if gamma == 2:  # computed by the plain version
        assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.parametrize("size", [60, 1000, -1000])
def test_large_logits_lose_nothing(size):
    """Which are taken relative to the largest one of the pixel."""
    logits, target = batch()
    shifted = (logits.detach() + size * torch.rand(3, 1, 9, 7)).requires_grad_()
    for ours, theirs in zip(*both(shifted, target), strict=True):
        close(ours, theirs, abs(size))


def test_an_all_void_batch_has_no_gradient():
    logits, target = batch()
    loss = focal_dice(logits, torch.full_like(target, 255)).total
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -float("inf")])
def test_void_pixels_have_no_effect_whatever_they_hold(junk):
    logits, target = batch()
    spoilt = logits.detach().clone()
    spoilt.transpose(0, 1)[:, target == 255] = junk
    fused = [both(x, target, **weights_of(target))[0] for x in (logits, spoilt.requires_grad_())]
    for clean, other in zip(*fused, strict=True):
        torch.testing.assert_close(clean, other, rtol=0, atol=0)
    assert (fused[1][-1].transpose(0, 1)[:, target == 255] == 0).all()


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("channel", [0, 1])
def test_void_pixels_have_no_effect_where_only_one_logit_is_junk(junk, channel):
    logits, target = batch()
    spoilt = logits.detach().clone()
    spoilt[:, channel][target == 255] = junk
    fused = [both(x, target, **weights_of(target))[0] for x in (logits, spoilt.requires_grad_())]
    for clean, other in zip(*fused, strict=True):
        torch.testing.assert_close(clean, other, rtol=0, atol=0)


def test_a_labelled_nan_is_not_hidden():
    logits, target = batch()
    target[0, 0, 0] = 1
    with torch.no_grad():
        logits[0, 0, 0, 0] = float("nan")
    assert focal_dice(logits, target).total.isnan()


@pytest.mark.parametrize("align_corners", [None, False])
def test_results_do_not_depend_on_the_number_of_threads(align_corners):
    logits, target = batch(torch.float32, size=(41, 29))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(both(logits, target, align_corners=align_corners)[0])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        torch.testing.assert_close(one, three, rtol=0, atol=0)


def test_labels_out_of_range_are_named_with_those_of_other_blocks():
    logits, target = batch()
    target[0, 0, 0], target[2, 8, 6] = 5, -1
    with pytest.raises(ValueError, match="`target` to be 0 to 4, or 255 for void, but got -1, 5"):
        focal_dice_sums(logits, target)


@pytest.mark.parametrize("far", [2**32 + 1, -(2**32) + 1, 2**32 + 255])
def test_labels_do_not_wrap_around(far):
    logits, target = batch()
    target[1, 2, 3] = far
    with pytest.raises(ValueError, match=f"but got {far}"):
        focal_dice_sums(logits, target)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_may_be_of_any_integer_type(dtype):
    logits, target = batch()
    for ours, theirs in zip(both(logits, target.to(dtype))[0], both(logits, target)[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    far = torch.where(target == 255, -(2**40), target)
    for ours, theirs in zip(both(logits, far, ignore_index=-(2**40))[0], both(logits, target)[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_sizes_must_fit_where_nothing_is_upsampled():
    logits, target = batch()
    with pytest.raises(ValueError, match=r"`target` to be of shape \(3, 9, 7\)"):
        focal_dice(logits, target.repeat_interleave(2, 1))
    with pytest.raises(ValueError, match=r"`target` to be of shape \(3, "):
        focal_dice(logits, target[:1], align_corners=False)


def test_weights_that_are_learnt_have_the_plain_version():
    logits, target = batch()
    weights = weights_of(target)
    for weight in weights.values():
        weight.requires_grad_()
    focal_dice(logits, target, **weights).total.backward()
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in weights.values())


def test_a_gpu_without_triton_has_blocks_too(monkeypatch):
    logits, target = (tensor.to("meta") for tensor in batch(torch.float32))
    monkeypatch.setattr(focal_dice_kernels, "triton", None)
    monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda"))
    assert _fused_version(logits, target, None, None, None) is BlockwiseFocalDiceSums


def test_autocast_does_not_reach_inside():
    logits, target = batch(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = focal_dice_sums(logits, target)
    for one, other in zip(inside, focal_dice_sums(logits, target), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("upsampled", [False, True])
def test_no_tensor_is_as_large_as_the_logits_but_their_gradient(upsampled, monkeypatch):
    monkeypatch.setattr(logit_blocks, "LOOP_BLOCK", 4000)  # whose sums take as much memory as those of large ones
    target = batch(size=(64, 64))[1]
    logits = batch(torch.float32, size=(8, 8) if upsampled else (64, 64))[0]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        focal_dice(logits, target, align_corners=False if upsampled else None).total.backward()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    allocated = sorted(event.nbytes() for event in events if event.nbytes() > 0)
    full = 4 * 5 * target.numel()
    assert allocated[-1] == full if not upsampled else allocated[-1] < full / 3
    assert allocated[-2] <= full / 3  # one number a pixel, or the gradient of the small logits by strips


class Wrong(BlockwiseFocalDiceSums):
    """Kernels that a compiler got wrong."""

    @staticmethod
    def forward(ctx, *arguments):
        focal, *rest = BlockwiseFocalDiceSums.forward(ctx, *arguments)
        return 1.01 * focal, *rest


class Broken:
    @staticmethod
    def apply(*_):
        raise RuntimeError("ptxas was not found")


@pytest.mark.parametrize(("kernels", "good"), [(BlockwiseFocalDiceSums, True), (Wrong, False), (Broken, False)])
def test_what_is_compiled_is_relied_on_only_where_it_agrees(kernels, good, recwarn):
    agrees.cache_clear()
    assert agrees(kernels, "Triton", torch.device("cpu")) is good
    agrees.cache_clear()
    messages = [str(warning.message) for warning in recwarn if "Triton" in str(warning.message)]
    assert len(messages) == (0 if good else 1)
    if kernels is Broken:
        assert messages == ["The loss runs without what Triton compiles for it on cpu: ptxas was not found"]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_the_first_call_may_be_without_gradients(mode, version, recwarn):
    logits, target = batch(torch.float32)
    agrees.cache_clear()
    with mode():
        first = focal_dice(logits.detach(), target).total
    assert not [warning for warning in recwarn if "runs without" in str(warning.message)]
    loss = focal_dice(logits, target).total
    assert loss.requires_grad and torch.equal(loss.detach(), first)


def test_the_version_is_the_one_that_is_meant(version):
    logits, target = batch()
    expected = NumbaFocalDiceSums if version == "loops" else BlockwiseFocalDiceSums
    assert _fused_version(logits, target, None, None, None) is expected
    assert _fused_version(logits.double(), target, None, None, None) is BlockwiseFocalDiceSums
