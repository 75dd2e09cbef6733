"""Registered losses."""

from .cross_entropy import WeightedCrossEntropyLoss
from .focal_dice import FocalDiceLoss

__all__ = ["FocalDiceLoss", "WeightedCrossEntropyLoss"]
