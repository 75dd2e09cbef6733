"""A submission to the Cityscapes benchmark: predicted, checked, zipped, and on val scored."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log

from cityseg_ext.apis.evaluation import Evaluation, evaluate
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.apis.provenance import file_digest
from cityseg_ext.apis.submission_check import check_submission
from cityseg_ext.apis.submission_findings import SubmissionCheck
from cityseg_ext.apis.submission_photos import check_sizes, find_photos, missing_photos, wanted_size
from cityseg_ext.apis.submission_png import is_current, is_ours, write_label_map
from cityseg_ext.apis.submission_zip import write_zip
from cityseg_ext.checks import check_at_least, expected, shorten
from cityseg_ext.labels import CITYSCAPES_IDS, PHOTO_SUFFIXES, PREDICTION_SUFFIX, Taxonomy
from cityseg_ext.transforms.image import LoadStreetImage
from cityseg_ext.whole_file import check_writable, remove_parts, whole_file

Progress = Callable[[str, int, int], None]
_VERSION = 1  # of the label maps: raise it when the same model and photograph would give another one


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        folder: the label maps.
        images: how many there are.
        predicted: how many of them this call predicted; the others were there already.
        check: what was found in the folder; with errors there is no zip.
        zip: the archive to upload.
        digest: its SHA-256, hexadecimal.
        evaluation: on val with ground truth, the official counts.
    """

    folder: Path
    images: int
    predicted: int
    check: SubmissionCheck
    zip: Path | None = None
    digest: str | None = None
    evaluation: Evaluation | None = None


def make_submission(
    cfg: Config,
    checkpoint: str,
    out_dir: str | Path,
    split: str = "test",
    *,
    size: tuple[int, int] | None = None,
    tta: bool = False,
    tta_scales: Sequence[float] | None = None,
    slide: Sequence[int] | None = None,
    refiner: dict | None = None,
    amp: bool = False,
    batch_size: int = 1,
    overwrite: bool = False,
    trust: bool = False,
    progress: Progress | None = None,
) -> Submission:
    """Predict a split, check the label maps, zip them and check the zip; on val, score them.

    The folder gets ``<city>_<sequence>_<frame>_pred_labelIds.png`` for every photograph in ``leftImg8bit/<split>`` and
    nothing else; the archive is beside it: ``<out_dir>.zip``. It is flat, because the evaluation looks below any folder
    for any file that begins with the image's name. Every label map carries a note of checkpoint, model, test
    pipeline, options and photograph: a call with the same goes on where an earlier one was interrupted.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`.
        checkpoint: the checkpoint that was trained with it.
        out_dir: folder of the label maps.
        split: ``'test'`` or ``'val'``.
        size: (H, W) that label maps must have; by default 1024x2048 on test, and each photograph's own on val.
        tta, tta_scales, slide, refiner, amp: as in :class:`~cityseg_ext.apis.predictor.Predictor`.
        batch_size: photographs at once.
        overwrite: predict everything, and replace label maps of another model, and the zip.
        trust: unpickle whatever the checkpoint holds, which may run code.
        progress: called with (what is done, how many, of how many).

    Returns:
        What was written and found.

    Raises:
        FileNotFoundError, ValueError: if a path, the config or an option is wrong, or files would be overwritten.
        OSError: if a file cannot be written.
    """
    check_at_least("batch_size", batch_size, 1)
    if cfg.get("launcher", "none") != "none":
        raise ValueError(expected("launcher", "'none': one process predicts", repr(cfg.launcher)))
    dataset = cfg.test_dataloader.dataset
    data_root = cfg.get("data_root") or dataset.get("data_root") or ""
    photos = find_photos(data_root, split, dataset.get("img_suffix", PHOTO_SUFFIXES))
    check_sizes(photos, wanted_size(split, size))
    if split == "test" and missing_photos(photos, split):
        problem = f"{missing_photos(photos, split)}: there will be label maps, but no zip."
        print_log(problem, logger="current", level=logging.WARNING)
    folder, archive = Path(out_dir), _archive(out_dir)
    options = dict(tta=tta, tta_scales=tta_scales, slide=slide, refiner=refiner, amp=amp)
    predictor = Predictor(cfg, checkpoint, trust=trust, **options)
    table = _official_ids(predictor.taxonomy, checkpoint)
    recipe = _recipe(cfg, checkpoint, options)
    check_writable("out", str(folder))
    label_maps = {key: folder / f"{key}{PREDICTION_SUFFIX}" for key in photos}
    todo = _plan(photos, label_maps, recipe, archive, overwrite)
    load = LoadStreetImage()  # as in the test pipeline: decoders of JPEG differ in single values
    for start in range(0, len(todo), batch_size):
        keys = todo[start : start + batch_size]
        images = [load({"img_path": photos[key]})["img"][..., ::-1] for key in keys]
        for key, prediction in zip(keys, predictor.predict(images), strict=True):
            write_label_map(label_maps[key], table[prediction.class_map], recipe, photos[key])
        if progress is not None:
            progress("predicting", start + len(keys), len(todo))
    check = check_submission(folder, split, size, photos, _part(progress, "checking"))
    if check.errors:
        return Submission(folder, len(photos), len(todo), check)
    digest = _zip(archive, list(label_maps.values()), overwrite, split, size, photos, progress)
    truth = Path(data_root, "gtFine", split)
    evaluation = None
    if split == "val" and truth.is_dir():
        scoring = dict(pred_type="label_ids", taxonomy=predictor.taxonomy, progress=_part(progress, "scoring"))
        evaluation = evaluate(folder, truth, **scoring)
    return Submission(folder, len(photos), len(todo), check, archive, digest, evaluation)


def _archive(out_dir: str | Path) -> Path:
    """Beside the folder, so that the folder holds label maps only."""
    path = os.path.normpath(out_dir)
    return Path(f"{path if os.path.basename(path) not in ('', '.', '..') else os.path.abspath(path)}.zip")


def _official_ids(taxonomy: Taxonomy | None, checkpoint: str) -> np.ndarray:
    """uint8 (256,): the official id of each class index."""
    table = np.zeros(256, np.uint8)
    official = dict(zip(CITYSCAPES_IDS.classes, CITYSCAPES_IDS.index_to_id, strict=True))
    if taxonomy is None or tuple(map(official.get, taxonomy.classes)) != taxonomy.index_to_id:
        rule = "a model of Cityscapes classes, whose official ids are known"
        raise ValueError(expected("checkpoint", rule, f"one of other classes, {checkpoint!r}"))
    table[: taxonomy.num_classes] = taxonomy.index_to_id
    return table


def _recipe(cfg: Config, checkpoint: str, options: dict) -> str:
    """A text that differs as soon as anything does that predictions depend on."""
    parts = {name: cfg.get(name) for name in ("model", "test_pipeline", "tta_model", "tta_pipeline")}
    parts["pipeline"] = cfg.test_dataloader.dataset.get("pipeline")
    text = json.dumps([_VERSION, file_digest(checkpoint), parts, options], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _plan(
    photos: dict[str, str], label_maps: dict[str, Path], recipe: str, archive: Path, overwrite: bool
) -> list[str]:
    """The images to predict.

    Raises:
        ValueError: if the folder holds something else than label maps of this model, or a zip is in the way.
    """
    folder = next(iter(label_maps.values())).parent
    remove_parts(folder)
    others = {path for path in folder.rglob("*") if not path.is_dir()} - set(label_maps.values())
    there = {key: path for key, path in label_maps.items() if os.path.lexists(path)}
    foreign = [] if overwrite else [path for path in there.values() if not is_ours(path, recipe)]
    if others:
        found = f"{len(others)} other files ({shorten(sorted(path.name for path in others), 3)})"
        rule = "a folder with label maps of this split and nothing else"
        raise ValueError(expected("out", rule, f"'{folder}' with {found}", "Choose another folder."))
    if foreign:
        found = f"{len(foreign)} others ({shorten([path.name for path in foreign], 3)})"
        rule = "a folder whose label maps are of this checkpoint, config and options"
        cure = "Choose another folder, or replace them: --overwrite."
        raise ValueError(expected("out", rule, f"'{folder}' with {found}", cure))
    todo = [
        key for key, path in photos.items() if overwrite or key not in there or not is_current(there[key], recipe, path)
    ]
    if todo and archive.exists() and not overwrite:
        raise _in_the_way(archive)
    return todo


def _zip(
    archive: Path,
    files: list[Path],
    overwrite: bool,
    split: str,
    size: tuple[int, int] | None,
    photos: dict[str, str],
    progress: Progress | None,
) -> str:
    """Write the archive, check it, and only then give it its name."""
    with whole_file(archive) as part:
        write_zip(part, files)
        check = check_submission(part, split, size, photos, _part(progress, "checking the zip"))
        if check.errors:
            raise ValueError(f"The zip that was written is not as it should be; is the disk full?\n{check}")
        digest = file_digest(part)
        if archive.exists() and not overwrite and file_digest(archive) != digest:
            raise _in_the_way(archive)
    return digest


def _in_the_way(archive: Path) -> ValueError:
    cure = "Move it away, or replace it and all label maps: --overwrite."
    return ValueError(expected("out", "a folder beside which no other zip is in the way", f"'{archive}'", cure))


def _part(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)
