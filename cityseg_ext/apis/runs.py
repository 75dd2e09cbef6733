"""Training and testing with the MMEngine Runner, from a config."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from cityseg_ext.apis.checkpoint import check_pretrained, load_weights
from cityseg_ext.apis.class_balance import fill_statistics, forget_weights
from cityseg_ext.apis.curves import plot_curves
from cityseg_ext.apis.inference_options import refiner_of, set_crf, set_slide, set_tta
from cityseg_ext.apis.manifest import write_manifest
from cityseg_ext.apis.provenance import provenance
from cityseg_ext.apis.ranks import join_processes
from cityseg_ext.apis.report_html import write_report
from cityseg_ext.apis.report_record import FOLDER, RECORD, make_record, write_record
from cityseg_ext.apis.resume import set_resume
from cityseg_ext.apis.runner import build_runner
from cityseg_ext.apis.work_dir import check_work_dir
from cityseg_ext.checks import expected
from cityseg_ext.hooks.preflight import check_has_batches
from cityseg_ext.hooks.report import ReportHook
from cityseg_ext.hooks.segmentor import segmentor_of
from cityseg_ext.hooks.write_predictions import WritePredictionsHook
from cityseg_ext.whole_file import check_writable, inside

CURVES = "curves.png"


@dataclass(frozen=True)
class TrainResult:
    """Where a training run left its work.

    Attributes:
        work_dir: folder of checkpoints and logs.
        checkpoint: the best checkpoint if one was kept, else the last one; None if there is none.
        scalars: the file of logged values, one JSON object a line (as ``LocalVisBackend`` writes it).
        curves: the picture of losses, scores and learning rate; None if it could not be drawn: the log says why.
        minutes: how long it took.
    """

    work_dir: Path
    checkpoint: Path | None
    scalars: Path
    curves: Path | None
    minutes: float


def train(cfg: Config, resume: str | None = None, trust: bool = False, command: str = "") -> TrainResult:
    """Train as a config says.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`.
        resume: ``'auto'`` goes on from the newest whole checkpoint in the work dir (from the start if there is none); a
            path goes on from that checkpoint; None starts anew.
        trust: unpickle whatever the checkpoint to go on or start from holds, which may run code. All other files are
            read as tensors only, and without it that one too.
        command: the command line, for the manifest.

    Returns:
        Where the results are.

    Raises:
        FileNotFoundError, ValueError: if a path or an option is wrong; everything that can be known is checked before
            the first step.
        OSError: if the work dir cannot be written.
        FloatingPointError: if gradients are NaN or infinite again and again.
        KeyboardInterrupt, SystemExit: if the run was told to stop, after it has saved: see ``StopSignalsHook``.
    """
    origin = cfg
    cfg = copy.deepcopy(cfg)  # the caller's stays as it is
    check_work_dir(cfg)
    set_resume(cfg, resume, trust)
    join_processes(cfg)
    fill_statistics(cfg)
    start = time.monotonic()
    runner = build_runner(cfg)
    runner.trust = trust
    check_pretrained(segmentor_of(runner.model))
    check_has_batches(runner.train_loop)
    if is_main_process():
        write_manifest(origin, runner.seed, command, cfg.load_from if cfg.resume else None)
    try:
        runner.train()
    except URLError as error:
        raise FileNotFoundError(
            expected(
                "model.backbone.init_cfg.checkpoint",
                "weights that can be downloaded",
                f"{(cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')!r}, and {error.reason}",
                "Give a local file with --pretrained PATH, or train from scratch with --pretrained none.",
            )
        ) from error
    best = next((hook.best_ckpt_path for hook in runner.hooks if getattr(hook, "best_ckpt_path", None)), None)
    last = best or runner.message_hub.runtime_info.get("last_ckpt")
    return TrainResult(
        work_dir=Path(cfg.work_dir),
        checkpoint=Path(last) if last else None,
        scalars=Path(runner.log_dir, "vis_data", "scalars.json"),
        minutes=(time.monotonic() - start) / 60,
        curves=_draw_curves(runner),
    )


@dataclass(frozen=True)
class EvalResult:
    """What a test run has measured and written.

    Attributes:
        metrics: the scores.
        pictures: how many files it wrote into each of the folders asked for.
        report: the report's page; None if none was asked for.
    """

    metrics: dict[str, float]
    pictures: int = 0
    report: Path | None = None


def test(
    cfg: Config,
    checkpoint: str,
    show_dir: str | None = None,
    out_dir: str | None = None,
    tta: bool = False,
    tta_scales: Sequence[float] | None = None,
    slide: Sequence[int] | None = None,
    crf: bool = False,
    report: bool = False,
    command: str = "",
    trust: bool = False,
) -> EvalResult:
    """Evaluate a checkpoint.

    Args:
        cfg: the config that it was trained with.
        checkpoint: path of the checkpoint; loaded strictly, as tensors only.
        show_dir: write a panel photo | ground truth | prediction | wrong pixels for every image there.
        out_dir: write a class map (8-bit PNG of class indices) for every image there.
        tta: average the predictions of augmented copies, as ``tta_pipeline`` says.
        tta_scales: do so with copies of these sizes too, as factors.
        slide: height and width of windows to predict in; by default images are predicted whole.
        crf: refine predictions with a dense CRF, as does a config with the field ``refiner``; the metrics then have the
            scores without it too, named ``before/...``.
        report: write a record of the run, and a page that shows it, into ``<work_dir>/report``.
        command: the command line, for the record.
        trust: unpickle whatever the checkpoint holds, which may run code.

    Returns:
        The metrics, and what was written.

    Raises:
        FileNotFoundError, ValueError: if a path, the checkpoint or the config is wrong.
        OSError: if a folder cannot be written.
    """
    origin = cfg
    cfg = copy.deepcopy(cfg)  # the caller's stays as it is
    report_dir = str(inside("work_dir", cfg.work_dir, Path(FOLDER, RECORD)).parent) if report else None
    check_work_dir(cfg)
    for name, folder in dict(show_dir=show_dir, out_dir=out_dir, report=report_dir).items():
        if folder is not None:
            check_writable(name, folder)
    pictures = WritePredictionsHook(show_dir, out_dir) if show_dir is not None or out_dir is not None else None
    counts = ReportHook() if report else None
    forget_weights(cfg)  # before the model is wrapped: it looks for losses in the heads
    if slide is not None:
        set_slide(cfg, slide)
    if tta or tta_scales is not None:
        set_tta(cfg, tta_scales)
    if refiner_of(cfg, crf) is not None:
        set_crf(cfg)
    # mmengine would load without checking that the weights fit, and over them the latest one after a resumed run.
    cfg.load_from, cfg.resume = None, False
    cfg.strategy = None  # a checkpoint is whole, and so is the model that is tested
    join_processes(cfg)
    runner = build_runner(cfg, trains=False)
    for hook in (pictures, counts):
        if hook is not None:
            runner.register_hook(hook)
    load_weights(segmentor_of(runner.model), checkpoint, trust)
    metrics = runner.test()
    page = None
    if counts is not None and is_main_process():
        known = provenance(origin, checkpoint, command)
        record = make_record(counts, metrics, runner.test_dataloader.dataset.metainfo, known)
        write_record(record, counts.panels, report_dir)
        page = write_report([cfg.work_dir]).page
    return EvalResult(metrics, len(pictures.names) if pictures else 0, page)


def _draw_curves(runner: Runner) -> Path | None:
    """Draw what the run has logged, in its first process; a run of few steps may have logged nothing."""
    picture = Path(runner.work_dir, CURVES)
    if is_main_process():
        try:
            plot_curves([runner.work_dir], picture)
        except (OSError, ValueError) as error:  # nothing was logged, or the disk is full: the weights are there
            runner.logger.warning(f"No curves were drawn: {error}")
            return None  # a picture of an earlier run may be there
    return picture if picture.is_file() else None
