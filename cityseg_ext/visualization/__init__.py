"""Registered visualization backends: trackers that may fail while training goes on."""

from .trackers import TolerantTensorboardVisBackend, TolerantWandbVisBackend

__all__ = ["TolerantTensorboardVisBackend", "TolerantWandbVisBackend"]
