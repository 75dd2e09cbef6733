"""What the demo's page shows of a photograph: picture, class map, confidence, shares and timing, as JSON."""

from __future__ import annotations

import base64
import time
from typing import Any

import cv2
import numpy as np

from cityseg_ext.apis.predictor import Prediction, Predictor
from cityseg_ext.apis.synthetic_cityscapes import UNSEEN_SEEDS
from cityseg_ext.functional.synthetic import render_scene
from cityseg_ext.transforms.image import decode_photo

SHOWN_PIXELS = 2**22
"""Larger photographs are shown smaller, for browsers' sake; they are predicted, and their class maps saved, whole."""

SHOWN_SIDE = 8192  # no browser draws on a canvas much longer
_SAMPLE_SIZE = (512, 1024)


def view_photo(predictor: Predictor, data: bytes, name: str) -> dict[str, Any]:
    """Predict a photograph.

    Args:
        predictor: the model.
        data: the bytes of an image file.
        name: what to call it.

    Returns:
        For JSON: ``name``; ``size`` and ``shown``, [width, height] of the photograph and of what is shown; ``photo``, a
        JPEG; ``class_map``, class indices, and ``confidence``, in per cent, one byte a shown pixel, row by row;
        ``class_map_png``, the class indices in full size; ``classes``, by index: ``name``, RGB ``color`` and ``share``
        of all pixels, 0 to 1; and ``seconds`` for ``decode``, ``predict`` and ``total``. Bytes are in base64.

    Raises:
        ValueError: if it is no image, truncated, or claims more than 2**27 pixels.
    """
    start = time.perf_counter()
    return _view(predictor, decode_photo(data, name), name, "decode", start)


def view_sample(predictor: Predictor, number: int) -> dict[str, Any]:
    """Predict a synthetic street scene, none of those that the quick start trains on.

    Returns the same as :func:`view_photo`, with ``seconds`` for ``render`` instead of ``decode``.

    Args:
        predictor: the model.
        number: which scene; at least 0.
    """
    start = time.perf_counter()
    height, width = _SAMPLE_SIZE
    photo = render_scene(UNSEEN_SEEDS + number, height, width).photo
    return _view(predictor, photo, f"synthetic scene {number}", "render", start)


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Height and width in which a photograph is shown: its own, unless that is too much for a browser.

    Example:
        >>> shown_size(1024, 2048), shown_size(6000, 8000), shown_size(1, 100_000)
        ((1024, 2048), (1774, 2365), (1, 8192))
    """
    scale = min(1.0, (SHOWN_PIXELS / (height * width)) ** 0.5, SHOWN_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _view(predictor: Predictor, photo: np.ndarray, name: str, source: str, start: float) -> dict[str, Any]:
    ready = time.perf_counter()
    prediction = predictor.predict([photo], keep="confidence")[0]
    predicted = time.perf_counter()
    view = _pictures(photo, prediction)
    # Row by row, as NumPy counts in eight times the memory of what it counts.
    counts = sum(np.bincount(row, minlength=len(predictor.classes)) for row in prediction.class_map)
    shares = counts / prediction.class_map.size
    named = zip(predictor.classes, predictor.palette, shares.tolist(), strict=True)
    view["classes"] = [dict(name=label, color=color, share=share) for label, color, share in named]
    seconds = {source: ready - start, "predict": predicted - ready, "total": time.perf_counter() - start}
    return dict(name=name, seconds=seconds, **view)


def _pictures(photo: np.ndarray, prediction: Prediction) -> dict[str, Any]:
    height, width = photo.shape[:2]
    shown = shown_size(height, width)[::-1]
    class_map, confidence = (
        cv2.resize(plane, shown, interpolation=cv2.INTER_NEAREST)
        for plane in (prediction.class_map, prediction.confidence)
    )
    small = cv2.resize(photo, shown, interpolation=cv2.INTER_AREA)
    return dict(
        size=[width, height],
        shown=list(shown),
        photo=_base64(cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]),
        class_map=_base64(class_map),
        confidence=_base64(np.rint(100 * confidence).astype(np.uint8)),
        class_map_png=_base64(cv2.imencode(".png", prediction.class_map)[1]),
    )


def _base64(data: np.ndarray) -> str:
    return base64.b64encode(data.tobytes()).decode()
