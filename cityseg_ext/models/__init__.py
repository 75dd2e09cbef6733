"""Registered model parts."""

from .convnext import PlainConvNeXt
from .refined import RefinedSegmentor
from .tta import MeanProbabilityTTA

__all__ = ["MeanProbabilityTTA", "PlainConvNeXt", "RefinedSegmentor"]
