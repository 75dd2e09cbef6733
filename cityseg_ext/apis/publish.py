"""A checkpoint for others: weights and plain facts, its config as data, and a model card."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from cityseg_ext.apis.checkpoint import fit_weights, meta_of, read_checkpoint, weights_of
from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.dataset_statistics import STATISTICS
from cityseg_ext.apis.model_card import model_card
from cityseg_ext.apis.options import apply_options
from cityseg_ext.apis.provenance import versions
from cityseg_ext.apis.published_config import check_config, config_to_publish
from cityseg_ext.apis.report_record import FOLDER, RECORD, read_record
from cityseg_ext.apis.run_log import read_run
from cityseg_ext.apis.segmentor import build_segmentor, classes_of, predicted_size
from cityseg_ext.checks import expected, file_problem
from cityseg_ext.statistics_file import load_statistics
from cityseg_ext.whole_file import check_writable, write_whole

FORMAT, VERSION = "cityseg_ext.checkpoint", 1


@dataclass(frozen=True)
class PublishResult:
    """What was written.

    Attributes:
        checkpoint: ``<name>-<first 8 digits of its SHA-256>.pth``.
        card: the model card beside it, Markdown.
        sha256: of the checkpoint, as 64 digits.
        changed: fields of the config that were left out or shortened, because they name folders or persons.
    """

    checkpoint: Path
    card: Path
    sha256: str
    changed: list[str]


def publish(
    cfg: Config,
    checkpoint: str,
    out_dir: str | Path,
    name: str | None = None,
    record: str | None = None,
    licence: str | None = None,
    overwrite: bool = False,
    trust: bool = False,
) -> PublishResult:
    """Strip a checkpoint to what others need, and write it with a model card.

    The file holds ``state_dict``, and ``meta`` of plain values: it loads with ``torch.load(weights_only=True)``, in
    this package without its config file, and in mmengine and mmseg as any checkpoint. Optimizer, schedulers and logs
    stay behind. Where ``EMAHook`` averaged the weights, mmengine saves the average as the weights: it is published.
    The same checkpoint and config give the same file, byte by byte.

    Args:
        cfg: the config that the checkpoint was trained with, best the one that the work dir keeps.
        checkpoint: a checkpoint of mmengine.
        out_dir: folder to write; made if need be.
        name: how the files' names begin; by default the config's name.
        record: scores of this checkpoint, ``record.json`` of ``tools/test.py --report``; by default that in the
            checkpoint's folder if it says that it is of this checkpoint, else the validation in the run's log at the
            iteration of the checkpoint.
        licence: that of the weights, in a few words.
        overwrite: replace files of these names.
        trust: unpickle whatever the checkpoint holds, which may run code.

    Returns:
        Where the files are.

    Raises:
        FileNotFoundError, FileExistsError: if a file is missing, or there already.
        ValueError: if one is damaged or of another model, or the config cannot be published.
        OSError: if the folder cannot be written.
    """
    loaded = read_checkpoint(checkpoint, trust)
    state = weights_of(checkpoint, loaded)
    fit_weights(build_segmentor(cfg), state, checkpoint)
    name = name or (Path(cfg.filename).stem if cfg.filename else Path(checkpoint).stem)
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(expected("name", "letters, digits and any of _ . + -", repr(name)))
    trained = _training(loaded)
    config, changed = config_to_publish(cfg)
    scores = _scores(Path(checkpoint), record, trained.get("iteration"), classes_of(cfg).names)
    meta = dict(format=FORMAT, version=VERSION, name=name, training=trained, scores=scores, licence=licence)
    meta |= dict(config=config, config_changed=changed, versions=versions(), **_facts(cfg, Path(checkpoint)))
    # Copies: a tensor that is part of a larger one would bring all of it along.
    plain = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    buffer = io.BytesIO()
    torch.save(dict(meta=meta, state_dict=plain), buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = Path(out_dir, f"{name}-{digest[:8]}.pth")
    card = path.with_suffix(".md")
    there = [str(file) for file in (path, card) if file.exists() or file.is_symlink()]
    if there and not overwrite:
        raise FileExistsError(expected("out_dir", "a folder without these files", there, "Replace them: --overwrite."))
    check_writable("out_dir", str(out_dir))
    write_whole(path, buffer.getvalue())
    text = model_card(meta, path.name, digest, path.stat().st_size, sum(value.numel() for value in plain.values()))
    write_whole(card, text.encode())
    return PublishResult(path, card, digest, changed)


def read_published_config(path: str) -> Config:
    """The config inside a published checkpoint: values, of which nothing is executed or imported.

    Args:
        path: a file of :func:`publish`.

    Returns:
        The config, named after the checkpoint, as is its ``work_dir``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no published checkpoint, or its config asks for anything but this package and
            MMSegmentation.
    """
    meta = _published_meta(path)
    stem = Path(path).stem
    cfg = check_config(path, meta.get("config"), f"{stem}.py")
    cfg.work_dir = str(Path("work_dirs", stem))
    return cfg


def config_for(checkpoint: str, config: str | None = None, cfg_options: dict | None = None, **options: Any) -> Config:
    """The config file given, or without one that in a published checkpoint; with options written into it.

    Args:
        checkpoint: the checkpoint to use it with.
        config: path of a config.
        cfg_options, options: as in :func:`~cityseg_ext.apis.config.load_config`.

    Raises:
        FileNotFoundError, ValueError: if there is neither, or an option does not fit.
    """
    if config is not None:
        return load_config(config, cfg_options=cfg_options, **options)
    cfg = read_published_config(checkpoint)
    apply_options(cfg, options)
    cfg.merge_from_dict(cfg_options or {})
    return cfg


def is_published(path: str, trust: bool = False) -> bool:
    """Whether a checkpoint is one of :func:`publish`, with its config in it.

    Args:
        path: the checkpoint.
        trust: unpickle whatever it holds, which may run code.

    Raises:
        FileNotFoundError, ValueError: if it cannot be read safely.
    """
    return meta_of(read_checkpoint(path, trust)).get("format") == FORMAT


def _published_meta(path: str) -> dict[str, Any]:
    meta = meta_of(read_checkpoint(path))
    cure = "Give its config too, or publish it with tools/publish.py CONFIG CHECKPOINT."
    if meta.get("format") != FORMAT:
        raise ValueError(file_problem(path, "a published checkpoint, which has its config in it", "another one", cure))
    if meta.get("version") != VERSION:
        raise ValueError(
            file_problem(path, f"a published checkpoint of version {VERSION}", repr(meta.get("version")), cure)
        )
    return meta


def _training(loaded: object) -> dict[str, Any]:
    """What mmengine noted about the run: how long, when, with which seed."""
    meta = meta_of(loaded)
    kinds = dict(epoch=int, iter=int, seed=int, time=str)
    known = {key: meta[key] for key, kind in kinds.items() if isinstance(meta.get(key), kind)}
    if re.fullmatch(r"\d{8}_\d{6}", known.get("time", "")):
        day = known["time"]
        known["date"] = f"{day[:4]}-{day[4:6]}-{day[6:8]}"
    names = dict(epoch="epoch", iter="iteration", seed="seed", date="date")
    averaged = dict(weights="moving average (EMAHook)") if "ema_state_dict" in (loaded or {}) else {}
    return {names[key]: value for key, value in known.items() if key in names} | averaged


def _scores(checkpoint: Path, record: str | None, iteration: int | None, names: Sequence[str]) -> dict[str, Any]:
    """Scores of this checkpoint and where they are from; nothing rather than those of another one."""
    found = Path(record) if record is not None else checkpoint.parent / FOLDER / RECORD
    if record is not None or found.is_file():
        values = read_record(found)
        tested = values.provenance.get("checkpoint")
        if isinstance(tested, str) and Path(tested).name == checkpoint.name:
            classes = [{key: row.get(key) for key in ("name", "Dice", "IoU")} for row in values.classes]
            return dict(source="test", values=values.scores, classes=classes)
        if record is not None:
            raise ValueError(file_problem(record, f"a record of a test of '{checkpoint.name}'", f"one of {tested!r}"))
    try:
        rows = [row for row in read_run(checkpoint.parent).validation if row["step"] == iteration]
    except FileNotFoundError:
        return {}  # no work dir
    if not rows:
        return {}
    row = rows[-1]
    values = {key: row[key] for key in row if key.startswith(("m", "aAcc", "val/")) and key != "memory"}
    classes = [dict(name=name, Dice=row.get(f"Dice/{name}"), IoU=row.get(f"IoU/{name}")) for name in names]
    return dict(source="validation during training", values=values, classes=classes)


def _facts(cfg: Config, checkpoint: Path) -> dict[str, Any]:
    """What the config and the work dir say about classes, images and data."""
    classes, size = classes_of(cfg), predicted_size(cfg)
    statistics = checkpoint.parent / "dataset" / STATISTICS
    dataset = (cfg.get("train_dataloader") or cfg.test_dataloader).dataset
    return dict(
        # Under the name and in the form that mmengine and mmseg read.
        dataset_meta=dict(classes=list(classes.names), palette=[list(color) for color in classes.palette]),
        taxonomy=classes.taxonomy,
        image_size=None if size is None else (size.height, size.width),
        config_name=Path(cfg.filename).name if cfg.filename else None,
        data=dict(
            type=dataset.type,
            fingerprint=load_statistics(statistics).fingerprint if statistics.is_file() else None,
        ),
    )
