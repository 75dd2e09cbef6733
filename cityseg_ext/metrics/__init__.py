"""Registered evaluators."""

from .dice import DiceMetric
from .validation_loss import ValidationLoss

__all__ = ["DiceMetric", "ValidationLoss"]
