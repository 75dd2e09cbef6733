"""Registered evaluators."""

from .dice import DiceMetric
from .street_scene import StreetSceneMetric
from .validation_loss import ValidationLoss

__all__ = ["DiceMetric", "StreetSceneMetric", "ValidationLoss"]
