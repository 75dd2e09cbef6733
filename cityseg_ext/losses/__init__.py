"""Registered losses."""

from .focal_dice import FocalDiceLoss

__all__ = ["FocalDiceLoss"]
