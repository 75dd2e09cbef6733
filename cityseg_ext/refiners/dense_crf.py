"""The dense CRF as a part that a config can name."""

from __future__ import annotations

import math

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor

from cityseg_ext.checks import check_at_least, check_choice, expected, install_extra
from cityseg_ext.functional.dense_crf import check_crf_inputs, dense_crf

BACKENDS = ("torch", "pydensecrf")


@MODELS.register_module()
class DenseCRF:
    """Let borders of classes follow those of the photograph; see :func:`~cityseg_ext.functional.dense_crf.dense_crf`.

    The defaults were chosen on photographs of 480x360 pixels; docs/refinement.md shows what they gain and lose.

    Args:
        steps: of mean field inference.
        smooth_weight: how much neighbours count, whatever their colours; 0 leaves them out.
        smooth_sigma: how near a neighbour is; below 1 a share of the image's diagonal, else pixels.
        appearance_weight: how much pixels of similar colour count; 0 leaves them out.
        appearance_sigma_xy: how near they are, in the same units; in pixels never less than 1.
        appearance_sigma_rgb: how similar, in grey levels of 0 to 255, at least 1.
        backend: ``'torch'``, on the device of the probabilities, or ``'pydensecrf'`` on the CPU, which approximates the
            same model in another way and needs the extra ``crf``.

    Raises:
        ValueError: if a parameter is out of range, or the backend not installed; when called, if the image does not fit
            the probabilities.

    Example:
        >>> refiner = DenseCRF(steps=2)
        >>> refiner(np.zeros((4, 6, 3), np.uint8), torch.full((2, 4, 6), 0.5))[0, 0, 0].item()
        0.5
    """

    def __init__(
        self,
        steps: int = 5,
        smooth_weight: float = 1.0,
        smooth_sigma: float = 0.0025,
        appearance_weight: float = 3.0,
        appearance_sigma_xy: float = 0.05,
        appearance_sigma_rgb: float = 8.0,
        backend: str = "torch",
    ) -> None:
        check_choice("backend", backend, BACKENDS)
        check_at_least("steps", steps, 0)
        check_at_least("smooth_weight", smooth_weight, 0)
        check_at_least("appearance_weight", appearance_weight, 0)
        check_at_least("appearance_sigma_rgb", appearance_sigma_rgb, 1)
        for name, sigma in (("smooth_sigma", smooth_sigma), ("appearance_sigma_xy", appearance_sigma_xy)):
            if not 0 < sigma < math.inf:
                raise ValueError(expected(name, "above 0: a share of the diagonal below 1, else pixels", sigma))
        if backend == "pydensecrf":
            _pydensecrf()  # a missing package is told before the first image
        self.steps = steps
        self.smooth_weight, self.smooth_sigma = smooth_weight, smooth_sigma
        self.appearance_weight = appearance_weight
        self.appearance_sigma_xy, self.appearance_sigma_rgb = appearance_sigma_xy, appearance_sigma_rgb
        self.backend = backend

    def __call__(self, image: np.ndarray, probabilities: Tensor) -> Tensor:
        """Refine one prediction.

        Args:
            image: uint8 (H, W, 3), RGB.
            probabilities: float (C, H, W).

        Returns:
            float (C, H, W), on the same device, with the sum 1 at every pixel.
        """
        diagonal = math.hypot(*probabilities.shape[1:])
        smooth, far = (
            sigma * diagonal if sigma < 1 else sigma for sigma in (self.smooth_sigma, self.appearance_sigma_xy)
        )
        values = (
            torch.from_numpy(np.ascontiguousarray(image)),
            probabilities,
            self.steps,
            self.smooth_weight,
            smooth,
            self.appearance_weight,
            max(1.0, far),
            self.appearance_sigma_rgb,
        )
        return dense_crf(*values) if self.backend == "torch" else _with_pydensecrf(*values)


def _with_pydensecrf(
    image: Tensor,
    probabilities: Tensor,
    steps: int,
    smooth_weight: float,
    smooth_sigma: float,
    appearance_weight: float,
    appearance_sigma_xy: float,
    appearance_sigma_rgb: float,
) -> Tensor:
    """The same model with the permutohedral lattice of pydensecrf, in float32."""
    check_crf_inputs(image, probabilities)
    classes, height, width = probabilities.shape
    p = probabilities.detach().float().cpu().clamp_min(torch.finfo(torch.float32).tiny)
    crf = _pydensecrf().DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(np.ascontiguousarray(-p.log().reshape(classes, -1).numpy()))
    if smooth_weight:
        crf.addPairwiseGaussian(sxy=smooth_sigma, compat=smooth_weight)
    if appearance_weight:
        crf.addPairwiseBilateral(
            sxy=appearance_sigma_xy, srgb=appearance_sigma_rgb, rgbim=image.numpy(), compat=appearance_weight
        )
    refined = np.array(crf.inference(steps)).reshape(classes, height, width)
    return torch.from_numpy(refined).to(probabilities.device)


def _pydensecrf():
    try:
        import pydensecrf.densecrf
    except ImportError as error:
        cure = f"{install_extra('crf')} It needs a C++ compiler; backend='torch' needs nothing."
        raise ValueError(expected("backend", "installed", "'pydensecrf', which is not", cure)) from error
    return pydensecrf.densecrf
