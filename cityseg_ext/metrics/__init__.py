"""Registered evaluators."""

from .before_refinement import BeforeRefinement
from .dice import DiceMetric
from .street_scene import StreetSceneMetric
from .validation_loss import ValidationLoss

__all__ = ["BeforeRefinement", "DiceMetric", "StreetSceneMetric", "ValidationLoss"]
