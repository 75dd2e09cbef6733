"""Registered data transforms."""

from .class_aware_crop import ClassAwareCrop
from .color_mask import LoadColorMaskAnnotations
from .image import LoadStreetImage
from .resize import AlignedResize

__all__ = ["AlignedResize", "ClassAwareCrop", "LoadColorMaskAnnotations", "LoadStreetImage"]
