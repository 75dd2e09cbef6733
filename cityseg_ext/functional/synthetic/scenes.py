"""Seeded street scenes with labels: what stands where, weather, and the camera's flaws.

A street is endless: it is laid out in segments whose content follows from (seed, segment number), so that a camera that
moves forward sees the same things grow. Things are painted far to near, from the houses inwards to the lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.checks import expected
from cityseg_ext.functional.synthetic.buildings import paint_fence, paint_house, paint_plant, paint_wall
from cityseg_ext.functional.synthetic.canvas import FAR, Canvas, Shape, View, rects, tint, upright
from cityseg_ext.functional.synthetic.ground import Street, paint_backdrop, paint_ground, paint_sky
from cityseg_ext.functional.synthetic.people import paint_bicycle, paint_motorcycle, paint_person
from cityseg_ext.functional.synthetic.poles import paint_pole
from cityseg_ext.functional.synthetic.vehicles import paint_bus, paint_car, paint_train, paint_truck
from cityseg_ext.labels import LABEL_BY_NAME

UInt8Array = npt.NDArray[np.uint8]
Rng = np.random.Generator
Thing = tuple[int, float, Callable[[Canvas], None]]  # layer (0 outermost), position along the street, how to paint

MIN_SIDE = 64
_SEGMENT = 16.0  # metres of street that are laid out together
_KERB = {-1: 5.6, 1: 3.9}  # metres from the middle to the road's end; cars park on the left
_PATH, _VERGE = 2.8, 3.2  # metres: width of the sidewalks, and of the strips of grass behind them
_ONCOMING = (paint_bus, paint_car, paint_train, paint_car, paint_truck, paint_car)
_FRONTS = ("house", "wall", "house", "fence")


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
    street = _street(rng)
    paint_sky(canvas, rng, zenith, low, weather.clouds)
    paint_backdrop(canvas, rng)
    paint_ground(canvas, street)
    first = int(np.floor(camera / _SEGMENT)) - 1
    things = [
        thing
        for number in range(first, first + int(FAR / _SEGMENT) + 2)
        for thing in _segment(np.random.default_rng([seed, 1, number + 1_000_000]), seed, number, street)
    ]
    for _, _, paint in sorted(things, key=lambda thing: (thing[0], -thing[1])):
        paint(canvas)
    if rng.random() < 0.5:
        _paint_hood(canvas, rng)
    return Scene(_expose(canvas.photo, rng, weather, camera), canvas.labels)


def _street(rng: Rng) -> Street:
    asphalt = tint(rng, ((92, 92, 96), (112, 110, 108), (78, 80, 86)), 8)
    paving = tint(rng, ((158, 152, 146), (172, 150, 138), (140, 142, 144)), 10)
    verge = [str(rng.choice(["terrain", "sidewalk"], p=[0.7, 0.3])) for _ in range(2)]
    if "terrain" not in verge:
        verge[rng.integers(2)] = "terrain"
    bay = "parking" if rng.random() < 0.1 else "road"
    names = ("terrain", verge[0], "sidewalk", bay, "road", "sidewalk", verge[1], "terrain")
    looks = {
        "terrain": (tint(rng, ((96, 118, 58), (124, 122, 72), (82, 108, 62)), 10), 0.16),
        "sidewalk": (paving, 0.05),
        "parking": (asphalt * 0.92, 0.06),
        "road": (asphalt, 0.05),
    }
    left, right = _KERB[-1], _KERB[1]
    edges = (-left - _PATH - _VERGE, -left - _PATH, -left, -3.7, right, right + _PATH, right + _PATH + _VERGE)
    return Street(
        edges=edges,
        labels=names,
        colors=np.array([looks[name][0] for name in names]),
        grain=np.array([looks[name][1] for name in names]),
        shadow=rng.uniform(1.0, 7.0),
    )


def _segment(rng: Rng, seed: int, number: int, street: Street) -> Iterator[Thing]:
    """Everything that stands in one segment. Kinds take turns, so that each is seen in most scenes."""
    start = number * _SEGMENT
    for side, verge, turn in ((-1, street.labels[1], number + seed), (1, street.labels[-2], number + seed // 2 + 2)):
        path = _KERB[side] + _PATH
        line = side * (path + (_VERGE if verge == "terrain" else 0.3))
        yield from _front(rng, _FRONTS[turn % 4], line, start)
        if verge == "terrain":
            for _ in range(rng.integers(0, 3)):
                x, z = side * rng.uniform(path + 0.8, path + 2.6), start + rng.uniform(0, _SEGMENT)
                wide = rng.uniform(1.2, 2.4)
                yield 1, z, partial(paint_plant, rng=_fork(rng), x=x, z=z, wide=wide, tall=wide * 0.8, trunk=0.0)
        yield from _sidewalk(rng, side, start, turn)
    yield from _lanes(rng, start, number + seed)


def _fork(rng: Rng) -> Rng:
    """A generator of its own for each thing: its looks do not depend on what else is in view."""
    return np.random.default_rng(rng.integers(1 << 32))


def _front(rng: Rng, kind: str, x: float, start: float) -> Iterator[Thing]:
    side = np.sign(x)
    if kind == "house":
        split = rng.uniform(0.4, 0.6) * _SEGMENT
        for z, length in ((start, split), (start + split, _SEGMENT - split)):
            height = rng.uniform(7, 17)
            yield 0, z, partial(paint_house, rng=_fork(rng), x=x, z=z, length=length, height=height)
        return
    for _ in range(3):
        z, wide = start + rng.uniform(2, _SEGMENT), rng.uniform(3.5, 6.0)
        behind = x + side * rng.uniform(2.5, 4.5)
        tree = partial(
            paint_plant, rng=_fork(rng), x=behind, z=z, wide=wide, tall=wide * 1.1, trunk=rng.uniform(1.4, 3)
        )
        yield -1, z, tree
    paint = paint_wall if kind == "wall" else paint_fence
    yield 0, start, partial(paint, rng=_fork(rng), x=x, z=start, length=_SEGMENT)


def _sidewalk(rng: Rng, side: int, start: float, turn: int) -> Iterator[Thing]:
    kerb = _KERB[side]
    for index, kind in enumerate((("light", "sign"), ("sign", "lamp"), ("light", "sign"), ("lamp", "sign"))[turn % 4]):
        z = start + (index + rng.uniform(0.2, 0.8)) * _SEGMENT / 2
        yield 1, z, partial(paint_pole, rng=_fork(rng), x=side * (kerb + rng.uniform(0.3, 0.7)), z=z, kind=kind)
    for _ in range(rng.integers(1, 4)):
        z = start + rng.uniform(0, _SEGMENT)
        yield 1, z, partial(paint_person, rng=_fork(rng), x=side * (kerb + rng.uniform(0.6, _PATH - 0.4)), z=z)
    paint = (paint_bicycle, paint_motorcycle)[turn % 2]
    z = start + rng.uniform(0, _SEGMENT)
    heading = rng.uniform(-0.5, 0.5)
    yield (
        1,
        z,
        partial(paint, rng=_fork(rng), x=side * (kerb + rng.uniform(0.7, 1.4)), z=z, heading=heading, ridden=False),
    )
    if rng.random() < 0.35:
        z = start + rng.uniform(0, _SEGMENT)
        yield 1, z, partial(_paint_clutter, rng=_fork(rng), x=side * (kerb + rng.uniform(0.8, _PATH - 0.5)), z=z)
    if rng.random() < 0.3:
        z = start + rng.uniform(0, _SEGMENT)
        tree = partial(paint_plant, rng=_fork(rng), x=side * (kerb + _PATH - 0.3), z=z, wide=3.2, tall=3.6, trunk=2.6)
        yield 1, z, tree


def _lanes(rng: Rng, start: float, turn: int) -> Iterator[Thing]:
    oncoming, z = _ONCOMING[turn % 6], start + rng.uniform(8, 12)
    yield 3, z, partial(oncoming, rng=_fork(rng), x=-1.95, z=z, oncoming=True)
    if rng.random() < 0.7:
        parked, z = (paint_car, paint_car, paint_truck, paint_car)[turn % 4], start + rng.uniform(0, 5)
        yield 2, z, partial(parked, rng=_fork(rng), x=-4.6, z=z, oncoming=rng.random() < 0.5)
    paint = (paint_bicycle, paint_motorcycle)[turn % 2]
    z, heading = start + rng.uniform(0, _SEGMENT), rng.choice([-1, 1]) * rng.uniform(0.1, 0.8)
    yield 3, z, partial(paint, rng=_fork(rng), x=rng.uniform(2.7, 3.3), z=z, heading=heading, ridden=True)


def _paint_clutter(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    """A bin or a bag: void, as ``static`` or ``dynamic``."""
    wide, high = rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.2)
    label, color = str(rng.choice(["static", "dynamic"])), tint(rng, ((70, 90, 70), (120, 110, 90), (60, 60, 66)))
    lid = rects([[-wide / 2 - 0.05, high, wide / 2 + 0.05, high + 0.12]])
    body = [Shape(rects([[-wide / 2, 0, wide / 2, high]]), color, label), Shape(lid, color * 0.7, label)]
    canvas.draw(upright(x, z), body)


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
