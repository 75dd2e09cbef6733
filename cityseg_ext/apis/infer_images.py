"""Predictions for image files without labels: class maps, overlays, confidence and probabilities, as files."""

from __future__ import annotations

import io
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cityseg_ext.apis.image_inputs import find_images
from cityseg_ext.apis.overlap import WriteBehind, map_ahead
from cityseg_ext.apis.predictor import Prediction, Predictor
from cityseg_ext.checks import check_at_least, check_choice, expected
from cityseg_ext.functional.overlay import overlay
from cityseg_ext.functional.panels import with_legend
from cityseg_ext.transforms.image import read_photo
from cityseg_ext.whole_file import check_writable, inside, write_whole

KINDS = {"class_map": ".png", "overlay": ".jpg", "confidence": ".png", "probabilities": ".npz"}
"""What can be written, each kind into a folder of its name, and how the files end."""

_KEEP = {"class_map": "class_map", "overlay": "class_map", "confidence": "confidence", "probabilities": "probabilities"}
_THREADS = 2  # decoding and encoding release the lock that Python threads share


@dataclass(frozen=True)
class Inferred:
    """What a call has written.

    Attributes:
        written: photographs whose files were written.
        kept: photographs whose files were there already.
        failed: path -> reason, of photographs that could not be read.
        seconds: how long it took.
    """

    written: int
    kept: int
    failed: dict[str, str]
    seconds: float


def infer_images(
    predictor: Predictor,
    source: str,
    out_dir: str,
    kinds: Sequence[str] = ("class_map", "overlay"),
    opacity: float = 0.5,
    legend: bool = True,
    batch_size: int = 4,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Inferred:
    """Predict image files and write the results, in the size of each photograph.

    ``out_dir`` gets a folder for each kind, with the folders and names of the photographs inside:

    * ``class_map``: 8-bit grey PNG of class indices;
    * ``overlay``: JPEG of class colours over the photograph;
    * ``confidence``: 16-bit grey PNG, the probability of the predicted class times 65535;
    * ``probabilities``: NPZ of ``probabilities``, float16 (C, H, W), and ``classes``.

    Photographs are read and files are written while the model works on others. One that cannot be read does not stop
    the others.

    Args:
        predictor: the model.
        source: an image, a folder or a pattern; see :func:`~cityseg_ext.apis.image_inputs.find_images`.
        out_dir: folder for the results.
        kinds: what to write, of :data:`KINDS`.
        opacity: of the colours in overlays, 0 to 1.
        legend: whether overlays name their classes below.
        batch_size: photographs that the model sees together, as far as they have one size.
        overwrite: replace files that are there; by default they are kept and their photographs are not predicted again.
        progress: called with (photographs done, photographs to do).

    Returns:
        The counts, and what went wrong.

    Raises:
        FileNotFoundError, ValueError: if there is no photograph, or an argument is wrong.
        OSError: if the folder cannot be written.
    """
    for kind in kinds:
        check_choice("kinds", kind, KINDS)
    check_at_least("number of kinds", len(kinds), 1)
    check_at_least("batch_size", batch_size, 1)
    if not 0 <= opacity <= 1:
        raise ValueError(expected("opacity", "from 0 to 1", opacity))
    start = time.monotonic()
    images = find_images(source, without=out_dir)
    check_writable("out_dir", out_dir)
    todo = {}
    for name, path in images.items():
        files = {kind: inside("out_dir", out_dir, Path(kind, name + KINDS[kind])) for kind in kinds}
        missing = {kind: file for kind, file in files.items() if overwrite or not os.path.lexists(file)}
        if missing:
            todo[path] = missing
    keep = max((_KEEP[kind] for kind in kinds), key=("class_map", "confidence", "probabilities").index)

    def write(files: dict[str, Path], photo: np.ndarray, prediction: Prediction) -> None:
        for kind, file in files.items():
            write_whole(file, _encode(kind, predictor, photo, prediction, opacity, legend))

    failed: dict[str, str] = {}
    done = 0
    photos = _readable(todo, batch_size + _THREADS, failed)
    with WriteBehind(write, batch_size, _THREADS) as write_behind, closing(photos):
        while batch := list(itertools.islice(photos, batch_size)):
            predictions = predictor.predict([photo for _, photo in batch], keep)
            for (path, photo), prediction in zip(batch, predictions, strict=True):
                write_behind(todo[path], photo, prediction)
            done += len(batch)
            if progress is not None:
                progress(done + len(failed), len(todo))
    return Inferred(done, len(images) - len(todo), failed, time.monotonic() - start)


def _readable(paths: Iterable[str], ahead: int, failed: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    """Photographs in order; those that cannot be read are written down instead."""

    def read(path: str) -> tuple[str, np.ndarray | None, str]:
        try:
            return path, read_photo(path), ""
        except (OSError, ValueError) as error:
            return path, None, str(error)

    with closing(map_ahead(read, paths, ahead, _THREADS)) as photos:
        for path, photo, reason in photos:
            if photo is None:
                failed[path] = reason
            else:
                yield path, photo


def _encode(
    kind: str, predictor: Predictor, photo: np.ndarray, prediction: Prediction, opacity: float, legend: bool
) -> bytes:
    data = io.BytesIO()
    if kind == "probabilities":
        np.savez(data, probabilities=prediction.probabilities.astype(np.float16), classes=list(predictor.classes))
    elif kind == "confidence":
        Image.fromarray(np.rint(prediction.confidence * 65535).astype(np.uint16)).save(data, "PNG")
    elif kind == "overlay":
        picture = overlay(photo, prediction.class_map, predictor.palette, opacity)
        if legend:
            picture = with_legend(picture, prediction.class_map, predictor.classes, predictor.palette)
        Image.fromarray(picture).save(data, "JPEG", quality=92)
    else:
        Image.fromarray(prediction.class_map).save(data, "PNG")
    return data.getvalue()
