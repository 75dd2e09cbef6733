import math

import pytest
import reference
import torch
import torch.nn.functional as F

from cityseg_ext.functional.focal_dice import focal_dice, focal_dice_from_sums, focal_dice_sums

OPTIONS = [
    dict(gamma=gamma, dice_pool=pool, absent=absent)
    for gamma in (0.0, 0.5, 2.0, 3.0)
    for pool in ("batch", "image")
    for absent in ("skip", "count")
]


@pytest.fixture
def batch():
    """Odd shape, 15 % void, class 4 absent, one image with class 0 only."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(3, 5, 9, 7, dtype=torch.float64)
    target = torch.randint(0, 4, (3, 9, 7))
    target[torch.rand(3, 9, 7) < 0.15] = 255
    target[2][target[2] != 255] = 0
    return logits, target


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_value_equals_the_slow_reference(batch, options, weighted):
    logits, target = batch
    weight = [0.5, 2.0, 1.0, 0.1, 3.0] if weighted else None
    ours = focal_dice(logits, target, class_weight=torch.tensor(weight) if weighted else None, **options).total
    other = dict(gamma=options["gamma"], pool=options["dice_pool"], absent=options["absent"])
    assert ours.item() == pytest.approx(reference.focal_dice(logits, target.numpy(), weight=weight, **other), rel=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradient_is_right(batch, options):
    logits, target = batch
    small, target = logits[:2, :, :4, :3].clone().requires_grad_(), target[:2, :4, :3]
    weight, pixel_weight = torch.rand(5, dtype=torch.float64), torch.rand(target.shape, dtype=torch.float64)

    def loss(x):
        return focal_dice(x, target, class_weight=weight, pixel_weight=pixel_weight, **options).total

    assert torch.autograd.gradcheck(loss, (small,))


@pytest.mark.parametrize("weighted", [False, True])
def test_gamma_0_without_dice_is_cross_entropy(batch, weighted):
    logits, target = batch
    weight = torch.rand(5, dtype=torch.float64) if weighted else None
    ours = focal_dice(logits, target, gamma=0, focal_weight=1, dice_weight=0, class_weight=weight).total
    torch.testing.assert_close(ours, F.cross_entropy(logits, target, weight, ignore_index=255))


def test_the_focal_term_is_the_mean_over_labelled_pixels(batch):
    logits, target = batch
    ce = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    expected = ((1 - (-ce).exp()) ** 2 * ce)[target != 255].mean()
    torch.testing.assert_close(focal_dice(logits, target).focal, expected)


def test_a_perfect_prediction_costs_nothing():
    target = torch.randint(0, 3, (2, 8, 8))
    logits = 100 * F.one_hot(target, 5).permute(0, 3, 1, 2).double()
    loss = focal_dice(logits, target)
    assert loss.total < 1e-12 and loss.dice < 1e-12


def test_a_perfect_prediction_with_half_the_pixels_void_costs_nothing():
    target = torch.randint(0, 3, (2, 8, 8))
    logits = 100 * F.one_hot(target, 5).permute(0, 3, 1, 2).double()
    target[:, :4] = 255
    assert focal_dice(logits, target).total < 1e-12


@pytest.mark.parametrize("junk", [1e4, float("inf"), float("nan")])
@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_void_pixels_do_nothing_at_all(batch, options, junk):
    logits, target = batch
    other = logits.clone()
    other.transpose(0, 1)[:, target == 255] = junk
    logits.requires_grad_()
    other.requires_grad_()
    first, second = focal_dice(logits, target, **options).total, focal_dice(other, target, **options).total
    first.backward()
    second.backward()
    assert first == second
    torch.testing.assert_close(logits.grad, other.grad, rtol=0, atol=0)
    assert (other.grad.transpose(0, 1)[:, target == 255] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_all_void_batch_gives_0_with_zero_gradient(dtype):
    logits = torch.randn(2, 4, 5, 5).to(dtype).requires_grad_()
    for options in OPTIONS:
        loss = focal_dice(logits, torch.full((2, 5, 5), 255), **options).total
        (grad,) = torch.autograd.grad(loss, logits)
        assert loss == 0 and (grad == 0).all()


def test_absent_classes_are_skipped_or_counted_as_said():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    logits[:, 0] = math.log(8)  # probabilities 0.8, 0.1, 0.1
    dice_of_0 = (2 * 12.8 + 1) / (12.8 + 16 + 1)
    dice_of_absent = 1 / (1.6 + 1)
    assert focal_dice(logits, target, absent="skip").dice.item() == pytest.approx(1 - dice_of_0)
    counted = 1 - (dice_of_0 + 2 * dice_of_absent) / 3
    assert focal_dice(logits, target, absent="count").dice.item() == pytest.approx(counted)


def test_missing_a_rare_class_costs_much_more_than_its_share_of_pixels():
    target = torch.zeros(1, 100, 100, dtype=torch.long)
    target[0, 0] = 1  # 1 % of the pixels
    logits = torch.zeros(1, 2, 100, 100)
    logits[:, 0] = 20
    assert focal_dice(logits, target).dice == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_finite_at_huge_logits(dtype):
    logits = (1e4 * torch.sign(torch.randn(2, 5, 9, 7))).to(dtype).requires_grad_()
    for options in OPTIONS:
        loss = focal_dice(logits, torch.randint(0, 5, (2, 9, 7)), **options).total
        (grad,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss) and torch.isfinite(grad).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_half_precision_is_computed_in_float32(batch, dtype, tolerance):
    logits, target = batch
    half = logits.to(dtype)
    low = focal_dice(half, target).total
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, focal_dice(half.float(), target).total, rtol=0, atol=0)
    assert low.item() == pytest.approx(focal_dice(logits, target).total.item(), rel=tolerance)


def test_pixel_weight_0_is_void(batch):
    logits, target = batch
    weight = torch.ones_like(target, dtype=torch.float64)
    weight[:, :3] = 0
    cut = target.clone()
    cut[:, :3] = 255
    torch.testing.assert_close(focal_dice(logits, target, pixel_weight=weight).total, focal_dice(logits, cut).total)


def test_sums_of_parts_give_the_loss_of_the_whole(batch):
    logits, target = batch
    parts = [focal_dice_sums(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
    pooled = type(parts[0])(*(torch.cat(part) for part in zip(*parts, strict=True)))
    torch.testing.assert_close(focal_dice_from_sums(pooled).total, focal_dice(logits, target).total)


def test_layouts_and_sizes():
    target = torch.randint(0, 35, (2, 6, 5))
    logits = torch.randn(2, 35, 6, 5)
    plain = focal_dice(logits, target).total
    torch.testing.assert_close(focal_dice(logits.contiguous(memory_format=torch.channels_last), target).total, plain)
    assert torch.isfinite(focal_dice(torch.randn(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long)).total)


def test_errors_name_the_argument_and_the_values(batch):
    logits, target = batch
    bad = target.clone()
    bad[0, 0, :2] = torch.tensor([30, -1])
    with pytest.raises(ValueError, match="`target` to be 0 to 4, or 255 for void, but got -1, 30"):
        focal_dice(logits, bad)
    with pytest.raises(ValueError, match=r"`target` to be of shape \(3, 9, 7\)"):
        focal_dice(logits, target[:1])
    with pytest.raises(ValueError, match=r"`class_weight` to be of shape \(5,\)"):
        focal_dice(logits, target, class_weight=torch.ones(4))
    with pytest.raises(ValueError, match="`dice_pool` .*'image'.* but got 'img'"):
        focal_dice(logits, target, dice_pool="img")
    with pytest.raises(ValueError, match="`gamma` to be at least 0, but got -1"):
        focal_dice(logits, target, gamma=-1)
