"""The label files of a whole tree to class maps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from mmengine.logging import print_log

from cityseg_ext.apis.conversion_report import ConversionReport, check_report_path
from cityseg_ext.apis.mask_file import Conversion, Job, convert_file
from cityseg_ext.apis.mask_tree import PAIRS, TARGETS, find_labels, find_missing, plan
from cityseg_ext.apis.processes import map_in_processes
from cityseg_ext.checks import check_at_least, check_choice, expected, shorten
from cityseg_ext.functional.color_mask import MODES, UNCERTAIN_POLICIES
from cityseg_ext.functional.mask_decoder import EFFORTS
from cityseg_ext.labels import LABEL_SUFFIXES, PAIR_HALVES, TaxonomyLike, get_taxonomy
from cityseg_ext.transforms.color_mask import UNKNOWN_POLICIES
from cityseg_ext.whole_file import check_writable, remove_parts

SOURCES = (*LABEL_SUFFIXES, PAIRS)


def convert_masks(
    src: str | Path,
    dst: str | Path,
    source: str = "color",
    target: str = "train_ids",
    taxonomy: TaxonomyLike = "cityscapes19",
    mode: str | None = None,
    uncertain: str = "resolve",
    effort: str = "best",
    half: str | None = None,
    photos: str | Path | None = None,
    label_suffix: str | None = None,
    photo_suffix: str | None = None,
    suffix: str = "_mask.png",
    max_images: int | None = None,
    workers: int | None = None,
    unknown: str = "ignore",
    overwrite: bool = False,
    report: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Convert all label files below a folder to 8-bit grey PNGs of train ids or label ids.

    ``<src>/<folders>/<stem><label_suffix>`` becomes ``<dst>/<folders>/<stem><suffix>``. A mask that an earlier run has
    made from the same label file with the same settings stays as it is. Files that cannot be converted are logged and
    named in the report, and the others go on. Everything that can be known is checked before the first file is written.

    Args:
        src: folder of label files, at any depth.
        dst: folder of the masks; it may be ``src`` or lie in it. No mask is written over a label, or taken for one.
        source: ``'color'``, ``'label_ids'``, ``'train_ids'``, or ``'pairs'``: photograph and colour mask side by side.
        target: ``'train_ids'``: class indices of the taxonomy, 255 for all else; ``'label_ids'``: official ids, 0 for
            what has none. From colours and label ids to label ids nothing is dropped, whatever the taxonomy.
        taxonomy: ``'cityscapes19'``, ``'cityscapes29'`` or a :class:`~cityseg_ext.labels.Taxonomy`.
        mode: how colours are decoded, see :func:`~cityseg_ext.functional.color_mask.decode_color_mask`. By default
            ``'exact'``, and for pairs ``'robust'``.
        uncertain: with ``'robust'``: mixed pixels in doubt get the most likely class, ``'resolve'``, or 255,
            ``'ignore'``.
        effort: with ``'robust'``: ``'best'``, or ``'fast'`` as in training pipelines.
        half: for pairs: the half that holds the mask, ``'right'`` by default.
        photos: folder of photographs; those without a label are warned about and reported as missing. By default, for
            official names, the folder ``leftImg8bit`` beside ``gtFine`` if ``src`` is in one and it is there.
        label_suffix: end of label names; by default the official one of ``source``; for pairs .jpg and .jpeg.
        photo_suffix: end of photograph names; by default the official ones.
        suffix: end of mask names, or ``'official'``: that of ``target`` in Cityscapes.
        max_images: convert only the first so many, in the order of their paths.
        workers: processes; all cores by default; 0 and 1 work in this process.
        unknown: colours and ids that are in no table: ``'ignore'`` makes them void and counts them; ``'error'`` counts
            such a file as corrupt.
        overwrite: redo everything, and replace files that something else has written under the names of masks.
        report: the JSON file to write; ``conversion.json`` in ``dst`` by default.
        progress: called with (files done, files to do).

    Returns:
        What happened to each file. It has been written as JSON too, also if the run is interrupted.

    Raises:
        FileNotFoundError: if a folder is missing, or has no file of the expected name.
        ValueError: if an option is wrong, or files would be overwritten that must not be.
        ChildProcessError: if a worker was killed.
        OSError: if a file cannot be written.
    """
    check_choice("source", source, SOURCES)
    check_choice("target", target, TARGETS)
    check_choice("unknown", unknown, UNKNOWN_POLICIES)
    if mode is None:
        mode = "robust" if source == PAIRS else "exact"
    check_choice("mode", mode, MODES)
    check_choice("uncertain", uncertain, UNCERTAIN_POLICIES)
    check_choice("effort", effort, EFFORTS)
    for name, value, least in (("max_images", max_images, 1), ("workers", workers, 0)):
        if value is not None:
            check_at_least(name, value, least)
    conversion = Conversion(
        source="color" if source == PAIRS else source,
        target=target,
        taxonomy=get_taxonomy(taxonomy),
        mode=mode,
        uncertain=uncertain,
        effort=effort,
        half=_mask_half(source, half),
        unknown=unknown,
    )
    suffix = LABEL_SUFFIXES[target] if suffix == "official" else suffix
    labels = find_labels(src, dst, source, label_suffix, suffix)
    missing = find_missing(src, labels, source, photos, label_suffix, photo_suffix)
    todo, done = plan(labels, Path(dst), suffix, conversion, max_images, overwrite)
    result = ConversionReport(
        path=Path(report or Path(dst, "conversion.json")),
        settings=dict(src=str(src), dst=str(dst), suffix=suffix, max_images=max_images, **conversion.settings),
        skipped=done,
        missing=missing,
        left=len(todo),
    )
    check_report_path(result.path)
    check_writable("dst", str(dst))
    remove_parts(dst)
    if missing:
        _warn(f"{len(missing)} photographs have no label and are skipped: {shorten(list(missing))}")
    try:
        _convert(todo, conversion, workers, result, progress)
    finally:
        result.write()
    return result


def _convert(
    jobs: list[Job],
    conversion: Conversion,
    workers: int | None,
    result: ConversionReport,
    progress: Callable[[int, int], None] | None,
) -> None:
    convert = partial(convert_file, conversion=conversion)
    with closing(map_in_processes(convert, jobs, workers, "workers")) as outcomes:
        for count, outcome in enumerate(outcomes, start=1):
            result.add(outcome)
            if outcome.problem is not None:
                _warn(f"Corrupt: {outcome.problem}")
            if progress is not None:
                progress(count, len(jobs))
    masks = result.converted | result.skipped
    unknown = sorted(job.label for job, facts in masks.items() if facts.pixels["unknown"])
    if unknown:
        share = f"{result.pixels['unknown'] / result.pixels['all']:.2%} of all pixels"
        _warn(f"{len(unknown)} files have unknown colours or ids, {share}. They are void now: {shorten(unknown)}")


def _mask_half(source: str, half: str | None) -> str | None:
    if source == PAIRS:
        check_choice("half", half or "right", PAIR_HALVES)
        return half or "right"
    if half is not None:
        raise ValueError(expected("half", "left out unless source='pairs'", repr(half)))
    return None


def _warn(message: str) -> None:
    message = message.encode(errors="backslashreplace").decode()  # names of files need not be valid Unicode
    print_log(message, logger="current", level=logging.WARNING)
