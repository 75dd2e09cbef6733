"""Which images to draw, and where to crop them, so that rare classes are met as often as common ones.

Rare class sampling of Hoyer et al., "DAFormer: improving network architectures and training strategies for
domain-adaptive semantic segmentation", CVPR 2022, arXiv:2111.14887: draw a class c, rare ones more often, then one of
the ``N_c`` images that hold it, all alike. An image is therefore drawn with probability

    P(image) = sum over its classes c of P(c) / N_c,

and given the image, the class that it was drawn for is c with probability ``P(c) / N_c / P(image)``. The sampler uses
the first, the crop the second.

Two things differ from the paper. Whether an image holds a class is asked of the share of its pixels, not of their
number, so that one setting serves images of all sizes, before and after they are resized. And a class that no image
holds so much of is not an error: all images that have any of it hold it then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cityseg_ext.checks import expected
from cityseg_ext.functional.class_statistics import Counts

Probabilities = npt.NDArray[np.float64]


def class_probabilities(pixels: npt.ArrayLike, temperature: float) -> Probabilities:
    """P(c), proportional to ``exp((1 - f_c) / temperature)``, f_c being the share of class c among labelled pixels.

    Args:
        pixels: (K,), the pixels of each class.
        temperature: above 0. Near 0 only the rarest class is drawn; infinity draws all classes alike, and so to within
            one per cent does any number from 100 on.

    Returns:
        float64 (K,), of sum 1; 0 for classes that do not occur.

    Raises:
        ValueError: if the temperature is not above 0, or no class occurs.

    Example:
        >>> class_probabilities([90, 10, 0], temperature=1.0).round(3).tolist()
        [0.31, 0.69, 0.0]
        >>> class_probabilities([90, 10, 0], temperature=float("inf")).tolist()
        [0.5, 0.5, 0.0]
    """
    if not temperature > 0:
        raise ValueError(expected("temperature", "above 0 (float('inf') draws all classes alike)", temperature))
    numbers = np.asarray(pixels, np.float64)
    present = numbers > 0
    if not present.any():
        raise ValueError(expected("pixels", "those of at least one class", "none"))
    share = numbers[present] / numbers.sum()
    probabilities = np.zeros(len(numbers))
    # The rarest class has exponent 0 and the others less, so that nothing overflows, however low the temperature is.
    probabilities[present] = np.exp((share.min() - share) / temperature)
    return probabilities / probabilities.sum()


@dataclass(frozen=True, eq=False)
class ClassSampling:
    """How classes, and images that hold them, are drawn from a data set.

    Attributes:
        probabilities: float64 (K,), P(c).
        holders: int64 (K,), N_c, the number of images that hold each class.
        least: float64 (K,), the share of an image's pixels from which on it holds the class; 0: any pixel will do.

    Example:
        >>> counts = np.array([[90, 10], [100, 0], [100, 0]])
        >>> sampling = ClassSampling.of(counts, areas=np.array([100, 100, 100]), temperature=float("inf"))
        >>> sampling.images(counts, np.array([100, 100, 100])).round(3).tolist()  # 1/2 as the only one; 1/2 of a third
        [0.667, 0.167, 0.167]
        >>> sampling.classes(np.array([90, 10]), area=100).tolist()
        [0.25, 0.75]
    """

    probabilities: Probabilities
    holders: Counts
    least: Probabilities

    @classmethod
    def of(cls, counts: Counts, areas: Counts, temperature: float, min_share: float = 0.0) -> ClassSampling:
        """What the images of a data set lead to.

        Args:
            counts: int64 (N, K), the pixels of each class in each image.
            areas: int64 (N,), all pixels of each image, void ones too.
            temperature: as in :func:`class_probabilities`.
            min_share: the share of its pixels, 0 to below 1, from which on an image holds a class. Classes that no
                image holds so much of are held by all images that have any of them.

        Raises:
            ValueError: if a number is out of range, or no image has a labelled pixel.
        """
        _check_share(min_share)
        probabilities = class_probabilities(counts.sum(axis=0), temperature)
        enough = _holds(counts, areas[:, None], min_share).any(axis=0)
        least = np.where(enough, min_share, 0.0)
        holders = _holds(counts, areas[:, None], least).sum(axis=0)
        return cls(probabilities, np.asarray(holders, np.int64), least)

    @classmethod
    def alike(cls, num_classes: int, min_share: float = 0.0) -> ClassSampling:
        """Without statistics: all classes that an image holds are equally likely."""
        _check_share(min_share)
        return cls(
            np.full(num_classes, 1 / num_classes), np.ones(num_classes, np.int64), np.full(num_classes, min_share)
        )

    def images(self, counts: Counts, areas: Counts) -> Probabilities:
        """P(image) of the images that this was made of: float64 (N,), of sum 1; 0 for an image that holds no class."""
        weights = self.probabilities / np.maximum(self.holders, 1)
        return _holds(counts, areas[:, None], self.least) @ weights

    def classes(self, pixels: Counts, area: int) -> Probabilities:
        """P(c | image), the class that an image is drawn for.

        Args:
            pixels: (K,), the pixels of each class in the image, of any size.
            area: all pixels of the image.

        Returns:
            float64 (K,), of sum 1. An image that holds no class may yet have a little of some: these then. Zeros for an
            image without any class that the data set has.
        """
        weights = self.probabilities / np.maximum(self.holders, 1)
        held = weights * _holds(pixels, area, self.least)
        if not held.any():
            held = weights * (pixels > 0)
        return held / held.sum() if held.any() else held


def effective_number(probabilities: Probabilities) -> float:
    """How many images, drawn alike, would repeat themselves as often: 1 over the sum of squares.

    Example:
        >>> effective_number(np.array([0.25] * 4)), effective_number(np.array([1.0, 0, 0, 0]))
        (4.0, 1.0)
    """
    return float(1 / np.square(probabilities).sum())


def draw_images(probabilities: Probabilities, number: int, generator: torch.Generator) -> list[int]:
    """Draw images so that each comes as often as its probability says, rounded up or down.

    This is systematic sampling: equal steps along the probabilities laid end to end in random order, from a random
    start. The expected frequencies are those of independent draws, without their scatter: of N images with equal
    probabilities N draws give each one once, where independent ones leave out 37 %.

    Args:
        probabilities: (N,), at least 0, of sum 1.
        number: how many to draw.
        generator: where random numbers come from.

    Returns:
        Indices of images in random order.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> sorted(draw_images(np.array([0.5, 0.25, 0, 0.25]), 4, generator))
        [0, 0, 1, 3]
    """
    possible = np.flatnonzero(probabilities > 0)
    possible = possible[torch.randperm(len(possible), generator=generator).numpy()]
    ends = np.cumsum(probabilities[possible])
    start = torch.rand((), dtype=torch.float64, generator=generator).item()
    points = (start + np.arange(number)) * (ends[-1] / number)
    # The last point may be rounded up to the very end.
    drawn = possible[np.minimum(np.searchsorted(ends, points, side="right"), len(possible) - 1)]
    return drawn[torch.randperm(number, generator=generator).numpy()].tolist()


def _holds(pixels: Counts, areas: Counts | int, least: Probabilities | float) -> npt.NDArray[np.bool_]:
    return (pixels > 0) & (pixels >= least * np.asarray(areas))


def _check_share(min_share: float) -> None:
    if not 0 <= min_share < 1:
        raise ValueError(expected("min_share", "at least 0 and below 1", min_share))
