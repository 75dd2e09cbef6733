"""Cars, trucks, buses and trams of a synthetic street."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cityseg_ext.functional.synthetic.canvas import (
    Canvas,
    FloatArray,
    Shape,
    disc,
    lying,
    poly,
    rects,
    strokes,
    tint,
    upright,
)
from cityseg_ext.functional.synthetic.people import CAR_COLORS, RIM, TYRE

Rng = np.random.Generator

BUS_COLORS = ((232, 196, 60), (196, 52, 44), (224, 224, 218), (60, 128, 152))
TRAM_COLORS = ((204, 44, 48), (236, 232, 214), (72, 132, 84), (226, 186, 64))
BOX_COLORS = ((214, 214, 210), (64, 108, 160), (186, 84, 44), (92, 136, 96), (168, 160, 150))
_GLASS = np.array([46.0, 56.0, 66.0])


class Box(NamedTuple):
    """A box of a vehicle, in metres; its sides may lean inwards.

    Attributes:
        x, z: centre of its near end.
        wide, long: its size at the bottom.
        low, high: bottom and top above the ground.
        lean: how far the sides, the near end and the far end are set back at the top.
    """

    x: float
    z: float
    wide: float
    long: float
    low: float
    high: float
    lean: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def end(self) -> FloatArray:
        """The sheet (4, 3) that faces the camera, u from left to right."""
        half, (side, near, _) = self.wide / 2, self.lean
        foot = [[self.x - half, self.low, self.z], [self.x + half, self.low, self.z]]
        head = [[self.x + half - side, self.high, self.z + near], [self.x - half + side, self.high, self.z + near]]
        return np.array(foot + head)

    def flank(self, sign: float) -> FloatArray:
        """The sheet (4, 3) on the left (-1) or right (+1), u from near to far."""
        half, (side, near, far) = sign * self.wide / 2, self.lean
        foot = [[self.x + half, self.low, self.z], [self.x + half, self.low, self.z + self.long]]
        inner = self.x + half - sign * side
        head = [[inner, self.high, self.z + self.long - far], [inner, self.high, self.z + near]]
        return np.array(foot + head)

    def top(self) -> FloatArray:
        """The roof (4, 3), u from left to right, v from near to far."""
        left, right = self.flank(-1), self.flank(1)
        return np.stack([left[3], right[3], right[2], left[2]])


def _draw_box(
    canvas: Canvas, box: Box, color: FloatArray, label: str, end: Sequence[Shape] = (), flank: Sequence[Shape] = ()
) -> None:
    """Draw the faces of a box that the camera sees, with details in unit coordinates on its end and its flank."""
    full = rects([[0, 0, 1, 1]])
    sign = np.sign(canvas.view.x - box.x)
    glow = 0.88 if canvas.sun == 0 else 1.06 if canvas.sun == sign else 0.7
    if box.high < canvas.view.eye:
        canvas.draw(box.top(), [Shape(full, np.clip(color * 1.12, 0, 250), label)])
    if abs(canvas.view.x - box.x) > box.wide / 2:
        canvas.draw(box.flank(sign), [Shape(full, np.clip(color * glow, 0, 250), label), *flank])
    canvas.draw(box.end(), [Shape(full, color * 0.9, label), *end])


def _draw_shadow(canvas: Canvas, box: Box, label: str) -> None:
    """Draw the shadow below a vehicle, and the tyres that are seen from its end."""
    half = box.wide / 2
    canvas.draw(lying(box.x, box.z), [Shape(rects([[-half - 0.15, -0.1, half + 0.15, box.long + 0.1]]), (38, 39, 42))])
    treads = rects([[-box.wide * 0.46, 0, -box.wide * 0.3, box.low], [box.wide * 0.3, 0, box.wide * 0.46, box.low]])
    canvas.draw(upright(box.x, box.z + 0.05), [Shape(treads + [0.0, 0.02], TYRE, label)])


def _draw_wheels(canvas: Canvas, box: Box, hubs: Sequence[float], radius: float, label: str) -> None:
    """Draw wheels on the flank that the camera sees, at ``hubs`` metres from the near end."""
    sign = np.sign(canvas.view.x - box.x)
    if abs(canvas.view.x - box.x) <= box.wide / 2:
        return
    sheet = upright(box.x + sign * (box.wide / 2 + 0.02), box.z, np.pi / 2)
    for hub in hubs:
        canvas.draw(
            sheet, [Shape(disc(hub, radius, radius), TYRE, label), Shape(disc(hub, radius, radius * 0.55), RIM)]
        )


def _lamps(oncoming: bool, v: float) -> list[Shape]:
    color = (252, 248, 226) if oncoming else (206, 34, 32)
    return [Shape(rects([[0.05, v, 0.2, v + 0.14], [0.8, v, 0.95, v + 0.14]]), color)]


def paint_car(canvas: Canvas, rng: Rng, x: float, z: float, oncoming: bool) -> None:
    """A car: hatchback, saloon or van."""
    color = tint(rng, CAR_COLORS)
    high, bonnet, boot = ((1.5, 0.9, 0.15), (1.42, 1.1, 0.7), (1.85, 0.6, 0.05))[rng.integers(3)]
    near, far = (bonnet, boot) if oncoming else (boot, bonnet)
    body = Box(x, z, 1.82, rng.uniform(4.0, 4.6), 0.28, 0.92, (0.05, 0.08, 0.08))
    cabin = Box(x, z + near, 1.7, body.long - near - far, 0.9, high, (0.2, 0.35, 0.45))
    plate = [
        Shape(rects([[0.1, 0.02, 0.9, 0.2]]), color * 0.45),
        Shape(rects([[0.38, 0.25, 0.62, 0.42]]), (224, 224, 214)),
    ]
    doors = [
        Shape(rects([[0.02, 0, 0.98, 0.14]]), color * 0.4),
        Shape(rects([[0.34, 0.1, 0.35, 1], [0.6, 0.1, 0.61, 1]]), color * 0.6),
    ]
    screen = [
        Shape(rects([[0.07, 0.12, 0.93, 0.88]]), _GLASS),
        Shape(poly((0.1, 0.2), (0.4, 0.2), (0.6, 0.85), (0.3, 0.85)), _GLASS * 1.5),
    ]
    windows = [Shape(rects([[0.08, 0.12, 0.47, 0.86], [0.52, 0.12, 0.92, 0.86]]), _GLASS * 1.1)]
    _draw_shadow(canvas, body, "car")
    _draw_box(canvas, body, color, "car", [*plate, *_lamps(oncoming, 0.62)], doors)
    _draw_wheels(canvas, body, (0.75, body.long - 0.75), 0.33, "car")
    _draw_box(canvas, cabin, color * 0.97, "car", screen, windows)


def paint_truck(canvas: Canvas, rng: Rng, x: float, z: float, oncoming: bool) -> None:
    """A truck: a cab and a cargo box with a gap between them."""
    paint, cargo = tint(rng, CAR_COLORS), tint(rng, BOX_COLORS)
    long, high = rng.uniform(4.8, 6.0), rng.uniform(3.1, 3.6)
    cab = Box(
        x, z if oncoming else z + long + 0.3, 2.2, 1.9, 0.5, 2.6, (0.06, 0.25, 0.0) if oncoming else (0.06, 0, 0.25)
    )
    box = Box(x, z + 2.2 if oncoming else z, 2.5, long, 0.95, high)
    chassis = Box(x, z + 0.1, 2.1, long + 2.0, 0.5, 0.96)
    front = [
        Shape(rects([[0.06, 0.5, 0.94, 0.9]]), _GLASS), Shape(rects([[0.2, 0.22, 0.8, 0.4]]), paint * 0.5),
        Shape(rects([[0, 0, 1, 0.12]]), TYRE * 1.4), *_lamps(True, 0.1),
    ]  # fmt: skip
    side = [Shape(rects([[0.25, 0.5, 0.85, 0.88]]), _GLASS), Shape(rects([[0.2, 0.05, 0.21, 0.5]]), paint * 0.5)]
    ribs = np.linspace(0.04, 0.96, 12)
    panel = [
        Shape(rects(np.stack([ribs, 0 * ribs, ribs + 0.01, 0 * ribs + 1], 1)), cargo * 0.72),
        Shape(rects([[0.15, 0.35, 0.8, 0.7]]), tint(rng, BOX_COLORS)),
    ]
    doors = [
        Shape(rects([[0.49, 0.02, 0.51, 0.98], [0.3, 0.05, 0.32, 0.95], [0.68, 0.05, 0.7, 0.95]]), cargo * 0.6),
        Shape(rects([[0, 0, 1, 0.05], [0, 0.95, 1, 1]]), cargo * 0.7), *_lamps(False, 0.0),
    ]  # fmt: skip
    _draw_shadow(canvas, chassis, "truck")
    faces = [(cab, paint, front if oncoming else [], side), (box, cargo, [] if oncoming else doors, panel)]
    _draw_box(canvas, chassis, TYRE * 1.5, "truck", _lamps(oncoming, 0.4))
    for part, color, end, flank in faces[::-1] if oncoming else faces:  # the farther one first
        _draw_box(canvas, part, color, "truck", end, flank)
    hubs = (0.9, long - 0.2, long + 0.9) if oncoming else (0.8, 1.9, long + 1.1)
    _draw_wheels(canvas, chassis, hubs, 0.5, "truck")


def paint_bus(canvas: Canvas, rng: Rng, x: float, z: float, oncoming: bool) -> None:
    """A bus: one long box with a row of windows, a line of colour below them, and a destination sign."""
    paint, line = tint(rng, BUS_COLORS), tint(rng, BUS_COLORS)
    body = Box(x, z, 2.55, rng.uniform(9.5, 11.5), 0.35, 3.05, (0.04, 0.05, 0.05))
    left = np.linspace(0.03, 0.97, 9)[:-1]
    windows = np.stack([left, 0 * left + 0.45, left + 0.108, 0 * left + 0.85], axis=1)
    side = [
        Shape(rects([[0, 0.28, 1, 0.38]]), line),
        Shape(rects(windows), _GLASS * 1.1),
        Shape(rects([[left[2], 0.06, left[2] + 0.1, 0.86], [left[5], 0.06, left[5] + 0.1, 0.86]]), _GLASS * 0.8),
        Shape(rects([[0, 0, 1, 0.06], [0, 0.94, 1, 1]]), paint * 0.6),
    ]
    end = [
        Shape(rects([[0.06, 0.42 if oncoming else 0.55, 0.94, 0.82]]), _GLASS),
        Shape(rects([[0.18, 0.85, 0.82, 0.96]]), (30, 30, 30)),
        Shape(rects([[0.25, 0.88, 0.6, 0.93]]), (250, 190, 60)),
        Shape(rects([[0.0, 0.0, 1.0, 0.08]]), paint * 0.5),
        *_lamps(oncoming, 0.14),
    ]
    _draw_shadow(canvas, body, "bus")
    _draw_box(canvas, body, paint, "bus", end, side)
    _draw_wheels(canvas, body, (2.0, body.long - 2.6), 0.48, "bus")


def paint_train(canvas: Canvas, rng: Rng, x: float, z: float, oncoming: bool) -> None:
    """A tram on its rails: two cars, a striped skirt, high windows, one lamp, a pantograph."""
    paint, stripe = tint(rng, TRAM_COLORS), tint(rng, TRAM_COLORS)
    long = rng.uniform(6.5, 7.5)
    rails = rects([[-0.78, -40, -0.66, 60], [0.66, -40, 0.78, 60]])
    canvas.draw(lying(x, z), [Shape(rails, (92, 90, 90))])
    left = np.linspace(0.06, 0.96, 5)[:-1]
    side = [
        Shape(rects([[0, 0.0, 1, 0.14]]), TYRE * 1.6),
        Shape(rects([[0, 0.18, 1, 0.26], [0, 0.32, 1, 0.36]]), stripe),
        Shape(rects(np.stack([left, 0 * left + 0.48, left + 0.2, 0 * left + 0.8], axis=1)), _GLASS * 1.2),
        Shape(rects([[0.44, 0.1, 0.56, 0.82]]), _GLASS * 0.7),
        Shape(rects([[0, 0.9, 1, 1]]), stripe * 0.7),
    ]
    front = [
        Shape(rects([[0.0, 0.0, 1.0, 0.12]]), TYRE * 1.6),
        Shape(poly((0.12, 0.46), (0.88, 0.46), (0.8, 0.84), (0.2, 0.84)), _GLASS),
        Shape(rects([[0.0, 0.18, 1.0, 0.26], [0.0, 0.32, 1.0, 0.36]]), stripe),
        Shape(disc(0.5, 0.26, 0.08, 0.7), (252, 248, 226) if oncoming else (206, 34, 32)),
        Shape(rects([[0.3, 0.88, 0.7, 0.97]]), (250, 190, 60)),
    ]
    for start in (z + long + 0.4, z):  # the farther car first
        body = Box(x, start, 2.4, long, 0.18, 3.3, (0.12, 0.3, 0.3))
        _draw_shadow(canvas, body, "train")
        _draw_box(canvas, body, paint, "train", front if start == z else [], side)
    arms = [[-0.5, 3.3, 0.3, 3.9], [0.3, 3.9, -0.4, 4.5], [-0.9, 4.5, 0.9, 4.5]]
    canvas.draw(upright(x, z + long / 2), [Shape(strokes(arms, 0.09), TYRE * 1.5, "train")])
