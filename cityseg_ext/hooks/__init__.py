"""Registered hooks."""

from .bad_samples import BadSamplesHook
from .channels_last import ChannelsLastHook
from .fused_upsampling import FusedUpsamplingHook
from .loss_parts import LossPartsHook
from .preflight import PreflightHook
from .progress_bar import ProgressBarHook
from .report import ReportHook
from .validation_panels import ValidationPanelsHook
from .write_predictions import WritePredictionsHook

__all__ = [
    "BadSamplesHook",
    "ChannelsLastHook",
    "FusedUpsamplingHook",
    "LossPartsHook",
    "PreflightHook",
    "ProgressBarHook",
    "ReportHook",
    "ValidationPanelsHook",
    "WritePredictionsHook",
]
