"""Persons and two-wheelers, ridden or parked, of a synthetic street."""

from __future__ import annotations

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

Rng = np.random.Generator

SKIN_COLORS = ((224, 184, 152), (196, 148, 116), (142, 98, 70), (96, 66, 50))
CLOTH_COLORS = (
    (42, 46, 58), (150, 44, 48), (58, 84, 132), (206, 200, 190), (86, 92, 70), (214, 168, 62), (112, 74, 104),
    (56, 128, 122), (70, 70, 72),
)  # fmt: skip
HAIR_COLORS = ((40, 32, 28), (92, 64, 40), (178, 148, 100), (128, 126, 124))
CAR_COLORS = (
    (188, 190, 194), (40, 42, 48), (150, 34, 36), (48, 74, 128), (226, 226, 224), (96, 102, 104), (72, 96, 84),
    (176, 140, 60),
)  # fmt: skip
TYRE, RIM = np.array([30.0, 30.0, 32.0]), np.array([150.0, 152.0, 154.0])


def paint_person(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    """A person who walks or stands."""
    top, legs, skin = tint(rng, CLOTH_COLORS), tint(rng, CLOTH_COLORS) * 0.8, tint(rng, SKIN_COLORS, 8)
    step, broad, lean = rng.uniform(0.02, 0.36), rng.uniform(0.24, 0.32), rng.uniform(-0.05, 0.05)
    swing = step * rng.choice([-1.0, 1.0])
    sole = [[-step - 0.08, 0.0, -step + 0.16, 0.1], [step - 0.08, 0.0, step + 0.16, 0.1]]
    torso = poly((-broad * 0.8, 0.8), (broad * 0.8, 0.8), (broad + lean, 1.42), (0.12 + lean, 1.5), (-0.12 + lean, 1.5),
                 (-broad + lean, 1.42))  # fmt: skip
    shade = poly((0.06, 0.8), (broad * 0.8, 0.8), (broad + lean, 1.42), (0.1 + lean, 1.5))
    shapes = [
        Shape(strokes([[-0.1, 0.88, -step, 0.04]], 0.19), legs * 0.85, "person"),
        Shape(strokes([[0.1, 0.88, step, 0.04]], 0.19), legs, "person"),
        Shape(rects(sole), (40, 36, 34), "person"),
        Shape(strokes([[-broad + lean, 1.38, -broad - swing * 0.5, 0.78]], 0.13), top * 0.8, "person"),
        Shape(torso, top, "person"),
        Shape(shade, top * 0.82),
        Shape(strokes([[broad + lean, 1.38, broad - swing * 0.5, 0.78]], 0.13), top * 0.9, "person"),
        Shape(disc(broad - swing * 0.5, 0.75, 0.07, sides=8), skin, "person"),
    ]
    if rng.random() < 0.35:
        shapes.append(Shape(rects([[-broad * 0.7 + lean, 0.98, broad * 0.6 + lean, 1.4]]), tint(rng, CLOTH_COLORS)))
    shapes += _head(rng, lean, 1.64, skin, "person")
    _shadow(canvas, x, z, 0.4, 0.25)
    canvas.draw(upright(x, z, scale=rng.uniform(0.98, 1.16)), shapes)


def _head(rng: Rng, u: float, v: float, skin: FloatArray, label: str) -> list[Shape]:
    hair = tint(rng, HAIR_COLORS, 8) if label == "person" else tint(rng, CLOTH_COLORS)  # a rider's is a helmet
    cap = poly((-0.15, v), (-0.12, v + 0.13), (0.0, v + 0.2), (0.12, v + 0.13), (0.15, v), (0.04, v + 0.06)) + [u, 0.0]
    return [
        Shape(rects([[u - 0.06, v - 0.2, u + 0.06, v]]), skin * 0.85, label),
        Shape(disc(u, v, 0.135, 1.25, 12), skin, label),
        Shape(cap, hair, label),
    ]


def paint_bicycle(canvas: Canvas, rng: Rng, x: float, z: float, heading: float, ridden: bool) -> None:
    """A bicycle seen from the side or at an angle, with a rider or parked."""
    color, sheet = tint(rng, CLOTH_COLORS, 24), upright(x, z, heading, 1.22)
    frame = [
        [-0.56, 0.36, -0.12, 0.36], [-0.12, 0.36, 0.36, 0.86], [-0.56, 0.36, -0.22, 0.8], [-0.12, 0.36, -0.26, 0.98],
        [-0.22, 0.8, 0.36, 0.86], [0.56, 0.36, 0.36, 1.02],
    ]  # fmt: skip
    hull = poly((-0.56, 0.36), (-0.3, 0.98), (0.42, 1.05), (0.56, 0.36), (-0.12, 0.3))
    shapes = [Shape(hull, None, "bicycle")]
    for hub in (-0.56, 0.56):
        angle = np.arange(0, np.pi, np.pi / 4)
        spokes = np.stack([np.cos(angle), np.sin(angle), -np.cos(angle), -np.sin(angle)], 1) * 0.34
        shapes += [
            Shape(disc(hub, 0.36, 0.38), None, "bicycle"),
            Shape(strokes(spokes + [hub, 0.36, hub, 0.36], 0.015), RIM),
            Shape(np.concatenate([disc(hub, 0.36, 0.38), disc(hub, 0.36, 0.3)]), TYRE),
        ]
    for line in frame:
        shapes.append(Shape(strokes([line], 0.07), color, "bicycle"))
    shapes += [
        Shape(rects([[-0.4, 0.96, -0.12, 1.04]]), TYRE, "bicycle"),
        Shape(strokes([[0.28, 1.06, 0.5, 1.02]], 0.06), TYRE, "bicycle"),
    ]
    if ridden:
        shapes += _rider(rng, seat=(-0.24, 1.02), foot=(-0.06, 0.24), hand=(0.4, 1.06))
    _shadow(canvas, x, z, 1.0 * np.cos(heading), 0.2)
    canvas.draw(sheet, shapes)


def _rider(rng: Rng, seat: tuple[float, float], foot: tuple[float, float], hand: tuple[float, float]) -> list[Shape]:
    top, legs, skin = tint(rng, CLOTH_COLORS), tint(rng, CLOTH_COLORS) * 0.8, tint(rng, SKIN_COLORS, 8)
    (u, v), shoulder = seat, (seat[0] + rng.uniform(0.18, 0.3), seat[1] + 0.56)
    knee = (u + 0.38, v - 0.28)
    torso = poly((u - 0.16, v - 0.06), (u + 0.16, v - 0.06), (shoulder[0] + 0.16, shoulder[1] - 0.08), shoulder,
                 (shoulder[0] - 0.18, shoulder[1] - 0.04))  # fmt: skip
    return [
        Shape(strokes([[u, v, *knee]], 0.19), legs, "rider"),
        Shape(strokes([[*knee, *foot]], 0.15), legs * 0.85, "rider"),
        Shape(rects([[foot[0] - 0.1, foot[1] - 0.06, foot[0] + 0.16, foot[1] + 0.06]]), (38, 36, 36), "rider"),
        Shape(torso, top, "rider"),
        Shape(strokes([[*shoulder, *hand]], 0.13), top * 0.82, "rider"),
        *_head(rng, shoulder[0] + 0.08, shoulder[1] + 0.2, skin, "rider"),
    ]


def paint_motorcycle(canvas: Canvas, rng: Rng, x: float, z: float, heading: float, ridden: bool) -> None:
    """A motorcycle seen from the side or at an angle, with a rider or parked."""
    color, sheet = tint(rng, CAR_COLORS, 20), upright(x, z, heading, 1.25)
    body = poly((-0.95, 0.78), (-0.5, 0.5), (-0.3, 0.22), (0.3, 0.22), (0.5, 0.6), (0.62, 1.0), (0.42, 1.04),
                (0.3, 0.88), (-0.1, 0.78))  # fmt: skip
    tank = poly((-0.1, 0.72), (0.02, 0.98), (0.36, 1.02), (0.44, 0.74))
    shapes = []
    for hub in (-0.66, 0.7):
        shapes += [Shape(disc(hub, 0.33, 0.34), TYRE, "motorcycle"), Shape(disc(hub, 0.33, 0.2), RIM * 0.7)]
        shapes.append(Shape(disc(hub, 0.33, 0.07, sides=8), TYRE))
    shapes += [
        Shape(strokes([[0.7, 0.33, 0.46, 1.1]], 0.09), RIM, "motorcycle"),
        Shape(body, TYRE * 1.6, "motorcycle"),
        Shape(rects([[-0.25, 0.26, 0.26, 0.56]]), RIM * 0.8),
        Shape(tank, color, "motorcycle"),
        Shape(poly((-0.95, 0.78), (-0.6, 0.62), (-0.1, 0.74), (-0.2, 0.88), (-0.8, 0.92)), color * 0.75, "motorcycle"),
        Shape(strokes([[-0.9, 0.36, -0.1, 0.28]], 0.1), RIM * 1.2, "motorcycle"),
        Shape(disc(0.62, 0.94, 0.12, sides=8), (250, 240, 200), "motorcycle"),
        Shape(strokes([[0.3, 1.14, 0.52, 1.08]], 0.07), TYRE, "motorcycle"),
    ]
    if ridden:
        shapes += _rider(rng, seat=(-0.28, 0.94), foot=(0.02, 0.3), hand=(0.4, 1.1))
    _shadow(canvas, x, z, 1.1 * np.cos(heading), 0.25)
    canvas.draw(sheet, shapes)


def _shadow(canvas: Canvas, x: float, z: float, half: float, deep: float) -> None:
    canvas.draw(lying(x, z), [Shape(disc(0, 0, half, deep / half), (46, 47, 50))])
