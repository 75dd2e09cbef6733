"""Registered model parts."""

from .tta import MeanProbabilityTTA

__all__ = ["MeanProbabilityTTA"]
