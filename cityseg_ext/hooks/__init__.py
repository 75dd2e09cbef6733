"""Registered hooks."""

from .channels_last import ChannelsLastHook
from .loss_parts import LossPartsHook
from .preflight import PreflightHook
from .progress_bar import ProgressBarHook
from .report import ReportHook
from .validation_panels import ValidationPanelsHook
from .write_predictions import WritePredictionsHook

__all__ = [
    "ChannelsLastHook",
    "LossPartsHook",
    "PreflightHook",
    "ProgressBarHook",
    "ReportHook",
    "ValidationPanelsHook",
    "WritePredictionsHook",
]
