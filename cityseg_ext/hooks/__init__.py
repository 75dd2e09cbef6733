"""Registered hooks."""

from .loss_parts import LossPartsHook
from .preflight import PreflightHook
from .progress_bar import ProgressBarHook
from .write_predictions import WritePredictionsHook

__all__ = ["LossPartsHook", "PreflightHook", "ProgressBarHook", "WritePredictionsHook"]
