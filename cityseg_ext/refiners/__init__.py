"""Registered refiners: a photograph and class probabilities go in, better probabilities come out."""

from .dense_crf import DenseCRF

__all__ = ["DenseCRF"]
