"""Registered data transforms."""

from .color_mask import LoadColorMaskAnnotations
from .image import LoadStreetImage
from .resize import AlignedResize

__all__ = ["AlignedResize", "LoadColorMaskAnnotations", "LoadStreetImage"]
