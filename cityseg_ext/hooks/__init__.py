"""Registered hooks."""

from .bad_samples import BadSamplesHook
from .channels_last import ChannelsLastHook
from .exact_resume import ExactResumeHook
from .finite_guard import FiniteGuardHook
from .fused_upsampling import FusedUpsamplingHook
from .loss_parts import LossPartsHook
from .preflight import PreflightHook
from .progress_bar import ProgressBarHook
from .report import ReportHook
from .safe_checkpoint import SafeCheckpointHook
from .stop_signals import StopSignalsHook
from .validation_panels import ValidationPanelsHook
from .write_predictions import WritePredictionsHook

__all__ = [
    "BadSamplesHook",
    "ChannelsLastHook",
    "ExactResumeHook",
    "FiniteGuardHook",
    "FusedUpsamplingHook",
    "LossPartsHook",
    "PreflightHook",
    "ProgressBarHook",
    "ReportHook",
    "SafeCheckpointHook",
    "StopSignalsHook",
    "ValidationPanelsHook",
    "WritePredictionsHook",
]
