"""Registered data sets."""

from .cityscapes_color_mask import CityscapesColorMaskDataset
from .cityscapes_pairs import CityscapesPairsDataset

__all__ = ["CityscapesColorMaskDataset", "CityscapesPairsDataset"]
