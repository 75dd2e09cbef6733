"""A segmentor as one file that runs without this package: ONNX, or PyTorch's own format."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

import cityseg_ext
from cityseg_ext.apis.checkpoint import load_weights
from cityseg_ext.apis.export_check import Agreement, check_agreement
from cityseg_ext.apis.export_model import OUTPUTS, ExportedModel
from cityseg_ext.apis.provenance import file_digest
from cityseg_ext.apis.segmentor import build_segmentor, classes_of, predicted_size
from cityseg_ext.checks import check_choice, expected, install_extra
from cityseg_ext.whole_file import check_writable

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
OPSET = 20
METADATA_FILE = "cityseg.json"
"""Where a ``.pt2`` file has its metadata: ``torch.export.load(path, extra_files={'cityseg.json': ''})``."""

_BATCH, _HEIGHT, _WIDTH = "batch", "height", "width"


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how well it agrees with the model.

    Attributes:
        path: the file.
        format: ``'onnx'`` or ``'torch'``.
        metadata: what the file says about itself, as text.
        agreement: measured on the file as written.
    """

    path: Path
    format: str
    metadata: dict[str, str]
    agreement: Agreement


def export(
    cfg: Config,
    checkpoint: str,
    out: str | Path | None = None,
    format: str = "onnx",
    output: str = "class_map",
    overwrite: bool = False,
    trust: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportResult:
    """Write a model as one file, for images of any number and size, and compare that file with the model.

    The file takes photographs as they are, uint8 (N, H, W, 3) RGB; see
    :class:`~cityseg_ext.apis.export_model.ExportedModel`. It predicts whole images, and it does not resize them: what
    size the model was trained for is in the metadata.

    Args:
        cfg: the config that the checkpoint was trained with.
        checkpoint: its weights.
        out: the file; by default beside the checkpoint, under its name with ``.onnx`` or ``.pt2``.
        format: ``'onnx'``, or ``'torch'`` for :func:`torch.export.save`.
        output: one of :data:`~cityseg_ext.apis.export_model.OUTPUTS`.
        overwrite: replace the file if it is there.
        trust: unpickle whatever the checkpoint holds, which may run code.
        progress: called with what is done now, in a few words.

    Returns:
        Where the file is, and how far its results are from the model's.

    Raises:
        FileNotFoundError, FileExistsError: if the checkpoint is not there, or the file is.
        ValueError: if an option or the model does not fit, a package is missing, or the file computes something else
            than the model; it is not kept then.
        OSError: if it cannot be written.
    """
    check_choice("format", format, SUFFIXES)
    check_choice("output", output, OUTPUTS)
    path = Path(out) if out is not None else Path(checkpoint).with_suffix(SUFFIXES[format])
    if path.suffix.lower() != SUFFIXES[format]:
        raise ValueError(expected("out", f"a file *{SUFFIXES[format]} for format {format!r}", repr(str(path))))
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(expected("out", "a new file", f"'{path}'", "Choose another, or replace it: --overwrite."))
    if format == "onnx":
        _check_installed()
    tell = progress or (lambda _: None)
    tell("loading")
    segmentor = build_segmentor(cfg)
    load_weights(segmentor, checkpoint, trust)
    check_writable("out", str(path.parent))
    model = ExportedModel(segmentor, output).eval()
    metadata = _metadata(cfg, checkpoint, model)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".cityseg-part", dir=path.parent) as folder:
        part = Path(folder, path.name)
        tell("exporting")
        _write(model, part, format, metadata)
        tell("checking")
        agreement = check_agreement(segmentor, part, output, model.min_side)
        os.replace(part, path)
    return ExportResult(path, format, metadata, agreement)


def _check_installed() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        rule = f"'torch' where {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        raise ValueError(expected("format", rule, "'onnx'", install_extra("export")))


def _write(model: ExportedModel, path: Path, format: str, metadata: dict[str, str]) -> None:
    sides = {name: torch.export.Dim(name, min=model.min_side) for name in (_HEIGHT, _WIDTH)}
    shapes = {0: torch.export.Dim(_BATCH), 1: sides[_HEIGHT], 2: sides[_WIDTH]}
    # Sizes that differ from each other and from everything that a model computes from them by chance.
    example = torch.zeros(2, model.min_side + 16, model.min_side + 48, 3, dtype=torch.uint8)
    # Facts about all sizes that PyTorch cannot prove become checks in the file, instead of reasons to refuse.
    program = torch.export.export(
        model, (example,), dynamic_shapes=(shapes,), prefer_deferred_runtime_asserts_over_guards=True
    )
    if format == "torch":
        torch.export.save(program, path, extra_files={METADATA_FILE: json.dumps(metadata)})
        return
    import onnx

    written = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=[model.output],
        dynamic_shapes=(shapes,),
        verbose=False,
    )
    written.model.metadata_props.update(metadata)
    written.save(path, external_data=False)
    onnx.checker.check_model(str(path), full_check=True)


def _metadata(cfg: Config, checkpoint: str, model: ExportedModel) -> dict[str, str]:
    """What a user of the file needs to know; lists as JSON, because ONNX keeps text only."""
    classes, size = classes_of(cfg), predicted_size(cfg)
    facts = dict(
        classes=json.dumps(classes.names),
        palette=json.dumps(classes.palette),
        input="image: uint8 (batch, height, width, 3), RGB",
        output=f"{model.output}: {OUTPUTS[model.output]}",
        min_side=str(model.min_side),
        config=Path(cfg.filename).name if cfg.filename else None,
        checkpoint_sha256=file_digest(checkpoint),
        cityseg_ext=cityseg_ext.__version__,
    )
    if size is not None:
        facts |= dict(image_size=json.dumps([size.height, size.width]), keep_ratio=json.dumps(size.keep_ratio))
    return {name: value for name, value in facts.items() if value is not None}
