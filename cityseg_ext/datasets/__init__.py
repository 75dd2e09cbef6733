"""Registered data sets."""

from .cityscapes_color_mask import CityscapesColorMaskDataset

__all__ = ["CityscapesColorMaskDataset"]
