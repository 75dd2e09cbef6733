"""The whole job on built-in data: write scenes, train, evaluate, draw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from cityseg_ext.apis.curves import plot_curves
from cityseg_ext.apis.infer_video import infer_video
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.apis.runs import CURVES, test, train
from cityseg_ext.apis.synthetic_cityscapes import NUM_TRAIN, NUM_VAL, write_synthetic_cityscapes
from cityseg_ext.apis.synthetic_drive import SyntheticDrive
from cityseg_ext.whole_file import write_whole


@dataclass(frozen=True)
class QuickstartResult:
    """What the quick start measured and wrote.

    Attributes:
        metrics: scores on the held-out scenes.
        minutes: how long the training took, this time or when it was done.
        checkpoint: the best weights.
        panels: folder of panels photo | ground truth | prediction.
        curves: picture of the training curves.
        drive: a drive along a street that was not trained on, beside the prediction; None unless asked for.
    """

    metrics: dict[str, float]
    minutes: float
    checkpoint: Path
    panels: Path
    curves: Path
    drive: Path | None = None


def quickstart(
    cfg: Config,
    num_train: int = NUM_TRAIN,
    num_val: int = NUM_VAL,
    drive: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> QuickstartResult:
    """Train and evaluate on synthetic street scenes, from colour masks.

    Scenes go to the config's ``data_root``, all else to its ``work_dir``. What an earlier call with the same config has
    finished is used again.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`.
        num_train: scenes to train on.
        num_val: scenes held out, in both validation and test.
        drive: write a video of a drive, predicted frame by frame, too.
        progress: called with (scenes written, scenes in all).

    Returns:
        Scores and the places of the pictures.
    """
    write_synthetic_cityscapes(cfg.data_root, train=num_train, val=num_val, progress=progress)
    stamp = Path(cfg.work_dir, "quickstart.json")
    fingerprint = hashlib.sha256(f"{cfg.pretty_text} {num_train} {num_val}".encode()).hexdigest()
    done = _read(stamp)
    if done.get("config") != fingerprint or not Path(done["checkpoint"]).is_file():
        result = train(cfg)
        done = dict(
            config=fingerprint,
            checkpoint=str(result.checkpoint),
            scalars=str(result.scalars),
            minutes=result.minutes,
        )
        write_whole(stamp, json.dumps(done, indent=2).encode())
    panels = Path(cfg.work_dir, "panels")
    metrics = test(cfg, done["checkpoint"], show_dir=str(panels)).metrics
    return QuickstartResult(
        metrics=metrics,
        minutes=done["minutes"],
        checkpoint=Path(done["checkpoint"]),
        panels=panels,
        curves=plot_curves([done["scalars"]], Path(cfg.work_dir, CURVES)).picture,
        drive=film_drive(cfg, done["checkpoint"]) if drive else None,
    )


def film_drive(cfg: Config, checkpoint: str) -> Path:
    """Write ``drive.gif`` into the work dir: a drive along a street that was not trained on, beside the prediction."""
    video = Path(cfg.work_dir, "drive.gif")
    predictor = Predictor(cfg, checkpoint)
    return infer_video(predictor, SyntheticDrive(), video, style="side_by_side", width=560, overwrite=True).path


def _read(stamp: Path) -> dict:
    """What an earlier call has finished; a stamp that is missing or damaged counts as nothing."""
    try:
        return json.loads(stamp.read_text())
    except (FileNotFoundError, ValueError):
        return {}
