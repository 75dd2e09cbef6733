"""Synthetic street scenes: a pinhole camera, and what there is in a street."""

from .scenes import MIN_SIDE, Scene, render_scene

__all__ = ["MIN_SIDE", "Scene", "render_scene"]
