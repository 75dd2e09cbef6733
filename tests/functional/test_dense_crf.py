"""Mean field inference against sums over all pairs of pixels."""

import numpy as np
import pytest
import reference
import torch

from cityseg_ext.functional.bilateral_grid import BilateralGrid
from cityseg_ext.functional.dense_crf import dense_crf

OPTIONS = dict(
    smooth_weight=3.0, smooth_sigma=2.0, appearance_weight=5.0, appearance_sigma_xy=15.0, appearance_sigma_rgb=13.0
)


def noise(height, width, classes, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    p = torch.from_numpy(rng.dirichlet(np.full(classes, 0.3), (height, width))).permute(2, 0, 1)
    return torch.from_numpy(image), p.float().contiguous()


def street(height=40, width=60, classes=5, seed=0):
    """Patches of colour with the shading and noise of a photograph, and uncertain probabilities."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    labels = (rows > height / 2 + 5 * np.sin(columns / 9)).astype(int) + 2 * (columns > width * 0.6)
    labels[:, 20:22] = 4  # a pole
    palette = rng.integers(30, 220, (5, 3))
    image = palette[labels] + rng.normal(0, 5, (height, width, 3)) + 20 * (columns / width)[..., None]
    logits = rng.normal(0, 1.5, (classes, height, width))
    np.put_along_axis(logits, labels[None], np.take_along_axis(logits, labels[None], 0) + 1.5, 0)
    return torch.from_numpy(image.clip(0, 255).astype(np.uint8)), torch.from_numpy(logits).softmax(dim=0)


@pytest.mark.parametrize("sigma_rgb", [5.0, 13.0, 40.0])
@pytest.mark.parametrize("sigma_xy", [6.0, 15.0, 80.0])
def test_marginals_are_near_those_of_all_pairs(sigma_xy, sigma_rgb):
    """The stated tolerance: 1 % of probability on average, and 98 % of labels equal."""
    image, p = street()
    options = OPTIONS | dict(appearance_sigma_xy=sigma_xy, appearance_sigma_rgb=sigma_rgb)
    exact = torch.from_numpy(reference.dense_crf(image.numpy(), p.numpy(), steps=5, **options))
    found = dense_crf(image, p, **options)
    assert (found - exact).abs().mean() < 0.01
    assert (found.argmax(dim=0) == exact.argmax(dim=0)).double().mean() > 0.98


@pytest.mark.parametrize("sigma", [0.1, 2.0, 1e6])
def test_smoothness_alone_is_exact_but_for_its_cut(sigma):
    image, p = noise(23, 31, 4)
    options = OPTIONS | dict(appearance_weight=0, smooth_sigma=sigma)
    exact = torch.from_numpy(reference.dense_crf(image.numpy(), p.numpy(), steps=5, **options))
    torch.testing.assert_close(dense_crf(image, p, **options), exact.float(), atol=0.01, rtol=0)


@pytest.mark.parametrize("options", [dict(smooth_weight=0, appearance_weight=0), dict(steps=0)])
def test_without_pairs_or_steps_it_is_the_identity(options):
    image, p = noise(9, 7, 19)
    torch.testing.assert_close(dense_crf(image, p, **options), p)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zeros_and_ones_stay_finite(dtype):
    image, p = noise(12, 41, 5)
    hard = torch.nn.functional.one_hot(p.argmax(dim=0), 5).permute(2, 0, 1).to(dtype)
    refined = dense_crf(image, hard)
    assert refined.dtype == torch.promote_types(dtype, torch.float32)
    assert refined.isfinite().all()
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(12, 41, dtype=refined.dtype))


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 70, 3), (67, 1, 35), (33, 65, 2)])
def test_odd_sizes(shape):
    refined = dense_crf(*noise(*shape))
    assert refined.shape == (shape[2], *shape[:2]) and refined.isfinite().all()


def test_one_pixel_and_one_colour():
    _, p = noise(6, 8, 3)
    black = torch.zeros(6, 8, 3, dtype=torch.uint8)
    exact = reference.dense_crf(black.numpy(), p.numpy(), steps=5, **OPTIONS)
    torch.testing.assert_close(dense_crf(black, p, **OPTIONS), torch.from_numpy(exact).float(), atol=0.05, rtol=0)
    single = torch.tensor([0.25, 0.75])[:, None, None]
    exact = reference.dense_crf(np.zeros((1, 1, 3), np.uint8), single.numpy(), steps=5, **OPTIONS)
    torch.testing.assert_close(dense_crf(black[:1, :1], single, **OPTIONS), torch.from_numpy(exact).float())


def test_classes_have_no_order():
    image, p = street()
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(dense_crf(image, p[order]), dense_crf(image, p)[order], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(40, 60), (41, 59)])
def test_a_mirrored_photograph_gives_the_mirrored_result(axis, shape):
    image, p = street(*shape)
    mirrored = dense_crf(image.flip(axis), p.flip(axis + 1), **OPTIONS).flip(axis + 1)
    torch.testing.assert_close(mirrored, dense_crf(image, p, **OPTIONS), atol=1e-6, rtol=1e-5)


def test_the_same_in_every_run_and_nearly_in_float32():
    image, p = street()
    once = dense_crf(image, p.float(), **OPTIONS)
    assert torch.equal(once, dense_crf(image, p.float(), **OPTIONS))
    torch.testing.assert_close(once, dense_crf(image, p, **OPTIONS).float(), atol=1e-4, rtol=1e-4)


def test_pixels_of_one_colour_share_what_they_have():
    image = torch.zeros(1, 40, 3, dtype=torch.uint8)
    image[:, ::2] = 250
    grid = BilateralGrid(image, sigma_xy=1000, sigma_rgb=10, dtype=torch.float64)
    values = torch.arange(40, dtype=torch.float64)[:, None]
    sums = grid.blur(grid.cell_sums(values))[grid.cell_of_pixel]
    means = sums / grid.blur(grid.cell_sizes)[grid.cell_of_pixel]
    torch.testing.assert_close(means[::2], values[::2].mean().expand(20, 1), atol=0.05, rtol=0)
    torch.testing.assert_close(means[1::2], values[1::2].mean().expand(20, 1), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(image=torch.zeros(4, 5, 3, dtype=torch.uint8)), "`image`.*probabilities' size"),
        (dict(image=torch.zeros(4, 6, 3)), "`image`"),
        (dict(probabilities=torch.zeros(2, 4, 6, dtype=torch.int64)), "`probabilities`"),
        (dict(probabilities=torch.zeros(2, 0, 6)), "`probabilities`"),
        (dict(smooth_sigma=-1.0), "`smooth_sigma`"),
        (dict(appearance_sigma_xy=-1.0), "`sigma_xy`"),
        (dict(appearance_sigma_rgb=float("nan")), "`sigma_rgb`"),
        (dict(appearance_weight=-1.0), "`appearance_weight`"),
        (dict(steps=-1), "`steps`"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    given = dict(image=torch.zeros(4, 6, 3, dtype=torch.uint8), probabilities=torch.full((2, 4, 6), 0.5)) | changes
    with pytest.raises(ValueError, match=message):
        dense_crf(**given)
