"""Registered data transforms."""

from .color_mask import LoadColorMaskAnnotations
from .image import LoadStreetImage

__all__ = ["LoadColorMaskAnnotations", "LoadStreetImage"]
