"""The registered refiner, and the other program behind it."""

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from cityseg_ext.refiners import DenseCRF


@pytest.fixture
def street():
    """A photograph of two halves with noise, and probabilities that are wrong near the edge."""
    rng = np.random.default_rng(0)
    image = np.full((24, 36, 3), 60) + rng.integers(-4, 5, (24, 36, 3))
    image[:, 18:] += 90
    p = torch.from_numpy(rng.random((3, 24, 36))).float() + torch.tensor([1.0, 0.2, 0.1])[:, None, None]
    p[:, :, 15:] = p[[1, 0, 2]][:, :, 15:]  # the edge of the classes is 3 pixels beside that of the photograph
    return image.astype(np.uint8), p / p.sum(dim=0)


def test_a_config_builds_it_and_it_finds_the_edge(street):
    refiner = MODELS.build(dict(type="DenseCRF", appearance_weight=5, appearance_sigma_xy=20, appearance_sigma_rgb=13))
    labels = refiner(*street).argmax(dim=0)
    assert (labels[:, :18] == 0).all() and (labels[:, 18:] == 1).all()


def test_shares_of_the_diagonal_are_pixels(street):
    diagonal = float(np.hypot(24, 36))
    share = DenseCRF(smooth_sigma=0.05, appearance_sigma_xy=0.3)(*street)
    pixels = DenseCRF(smooth_sigma=0.05 * diagonal, appearance_sigma_xy=0.3 * diagonal)(*street)
    torch.testing.assert_close(share, pixels)


@pytest.mark.parametrize(
    "options",
    [
        dict(backend="cuda"),
        dict(steps=-1),
        dict(smooth_weight=-1),
        dict(appearance_weight=float("nan")),
        dict(smooth_sigma=-3),
        dict(appearance_sigma_xy=0),
        dict(appearance_sigma_rgb=0.5),
    ],
)
def test_wrong_parameters_are_named(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
        DenseCRF(**options)


def test_a_missing_backend_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydensecrf.densecrf", None)
    monkeypatch.setitem(__import__("sys").modules, "pydensecrf", None)
    with pytest.raises(ValueError, match=r"cityseg_ext\[crf\]"):
        DenseCRF(backend="pydensecrf")


@pytest.mark.parametrize("sigma_xy", [12, 40])
def test_pydensecrf_agrees(street, sigma_xy):
    """Both approximate the same model: see tests/functional/test_dense_crf.py for how well each does."""
    pytest.importorskip("pydensecrf")
    image, p = street
    options = dict(smooth_sigma=2, appearance_weight=4, appearance_sigma_xy=sigma_xy, appearance_sigma_rgb=20)
    ours, theirs = (DenseCRF(backend=backend, **options)(image, p) for backend in ("torch", "pydensecrf"))
    assert (ours - theirs).abs().mean() < 0.02
    assert (ours.argmax(dim=0) == theirs.argmax(dim=0)).float().mean() > 0.98
