"""Seeded street scenes with labels: what stands where, weather, and the camera's flaws.

A street is endless: it is laid out in segments whose content follows from (seed, segment number), so that a camera that
moves forward sees the same things grow. Things are painted far to near, from the houses inwards to the lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected
from cityseg_ext.functional.synthetic.canvas import FAR, Canvas, View, tint
from cityseg_ext.functional.synthetic.ground import paint_backdrop, paint_ground, paint_sky
from cityseg_ext.functional.synthetic.layout import REACH, SEGMENT, lay_segment, lay_street
from cityseg_ext.labels import LABEL_BY_NAME

UInt8Array = npt.NDArray[np.uint8]
Rng = np.random.Generator
MIN_SIDE = 64


@dataclass(frozen=True)
class Scene:
    """A synthetic photograph with its labels.

    Attributes:
        photo: uint8 (H, W, 3), RGB.
        label_ids: uint8 (H, W), official Cityscapes label ids.
    """

    photo: UInt8Array
    label_ids: UInt8Array


@dataclass(frozen=True)
class _Weather:
    """Colours of sky and air, how lit windows are, and the camera's settings."""

    zenith: tuple[float, float, float]
    low: tuple[float, float, float]
    clouds: float
    haze_depth: float
    lit: float
    gain: float
    sunny: bool


_WEATHERS = (
    _Weather((92, 142, 206), (206, 222, 236), 0.35, 150, 0.04, 1.0, True),
    _Weather((128, 168, 214), (226, 230, 232), 0.6, 120, 0.06, 1.04, True),
    _Weather((168, 174, 182), (212, 214, 216), 1.0, 80, 0.15, 0.92, False),
    _Weather((66, 74, 116), (236, 178, 132), 0.5, 110, 0.45, 0.76, False),
)


def render_scene(seed: int, height: int = 256, width: int = 512, camera: float = 0.0) -> Scene:
    """Render a street scene with exact labels.

    Args:
        seed: which street; at least 0.
        height: rows, at least 64.
        width: columns, at least 64. The same seed shows the same scene at any size.
        camera: how far the camera has driven along the street, in metres.

    Returns:
        Photograph and label ids.

    Raises:
        ValueError: if a side is too short or the seed negative.

    Example:
        >>> scene = render_scene(seed=1, height=64, width=128)
        >>> scene.photo.shape, scene.label_ids.shape
        ((64, 128, 3), (64, 128))
    """
    for name, value, least in (("height", height, MIN_SIDE), ("width", width, MIN_SIDE), ("seed", seed, 0)):
        if value < least:
            raise ValueError(expected(name, f"at least {least}", value))
    rng = np.random.default_rng([seed, 0])
    weather = _WEATHERS[rng.integers(len(_WEATHERS))]
    view = View(
        height,
        width,
        horizon=rng.uniform(0.4, 0.45),
        x=rng.uniform(1.2, 1.9),
        z=camera,
        bend=rng.uniform(-0.0012, 0.0012),
    )
    zenith, low = tint(rng, (weather.zenith,), 8), tint(rng, (weather.low,), 6)
    canvas = Canvas(view, low, weather.haze_depth, int(rng.choice([-1, 1])) if weather.sunny else 0, weather.lit)
    street = lay_street(rng)
    paint_sky(canvas, rng, zenith, low, weather.clouds)
    paint_backdrop(canvas, rng)
    paint_ground(canvas, street)
    first = int(np.floor(camera / SEGMENT)) - 1
    things = [
        thing
        for number in range(first, first + int(FAR / SEGMENT) + 2)
        for thing in lay_segment(np.random.default_rng([seed, 1, number + 1_000_000]), seed, number, street)
    ]
    for layer, z, paint in sorted(things, key=lambda thing: (thing[0], -thing[1])):
        if camera - REACH[layer] < z < camera + FAR:
            paint(canvas)
    if rng.random() < 0.5:
        _paint_hood(canvas, rng)
    return Scene(_expose(canvas.photo, rng, weather, camera), canvas.labels)


def _paint_hood(canvas: Canvas, rng: Rng) -> None:
    """The bonnet of the camera's own car."""
    height, width = canvas.labels.shape
    top = 1 - rng.uniform(0.035, 0.07)
    arc = np.linspace(0, np.pi, 24)
    outline = np.stack([0.5 - 0.62 * np.cos(arc), 1.05 - (1.05 - top) * np.sin(arc)], axis=-1) * [width, height]
    points = np.rint(outline).astype(np.int32)
    cv2.fillPoly(canvas.labels, [points], LABEL_BY_NAME["ego vehicle"].id)
    red, green, blue = (tint(rng, ((60, 62, 66), (120, 30, 34), (40, 52, 84))) * 0.7).tolist()
    cv2.fillPoly(canvas.photo, [points], (red, green, blue), cv2.LINE_AA)


def _expose(photo: UInt8Array, rng: Rng, weather: _Weather, camera: float) -> UInt8Array:
    """What lens and sensor make of it: blur, exposure, colour temperature, noise that differs from frame to frame."""
    blurred = cv2.GaussianBlur(photo, (0, 0), 0.45 + 0.0004 * photo.shape[1]).astype(np.float32)
    gain = weather.gain * rng.uniform(0.85, 1.12)
    warmth = rng.normal(0, 0.035)
    channels = (gain * np.array([1 + warmth, 1.0, 1 - warmth])).astype(np.float32)
    contrast, level = np.float32(rng.uniform(0.85, 1.12)), rng.uniform(2.0, 5.0)
    noise = np.random.default_rng([int(rng.integers(1 << 31)), round(camera * 1000)])
    exposed = (blurred - 118) * contrast + 118
    exposed *= channels
    exposed += noise.standard_normal(photo.shape, np.float32) * np.float32(level)
    return np.clip(exposed, 0, 255).astype(np.uint8)
