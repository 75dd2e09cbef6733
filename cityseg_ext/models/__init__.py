"""Registered model parts."""

from .convnext import PlainConvNeXt
from .tta import MeanProbabilityTTA

__all__ = ["MeanProbabilityTTA", "PlainConvNeXt"]
