"""Poles of a synthetic street, and the lamps, traffic lights and traffic signs that they carry."""

from __future__ import annotations

import numpy as np

from cityseg_ext.functional.synthetic.canvas import Canvas, Shape, disc, poly, rects, strokes, tint, upright

Rng = np.random.Generator

GREY_COLORS = ((112, 114, 116), (74, 78, 80), (150, 152, 150), (64, 82, 72))


def paint_pole(canvas: Canvas, rng: Rng, x: float, z: float, kind: str) -> None:
    """A pole with what it carries; ``kind`` is 'lamp', 'light' (traffic light) or 'sign'."""
    color, toward, sheet = tint(rng, GREY_COLORS), -np.sign(x), upright(x, z)
    height = {"lamp": rng.uniform(6, 8), "light": rng.uniform(3.6, 4.6), "sign": rng.uniform(3.0, 3.6)}[kind]
    half = 0.075 if kind == "sign" else 0.1
    shapes = [
        Shape(rects([[-half, 0, half, height]]), color, "pole"),
        Shape(rects([[half * 0.2, 0, half, height]]), color * 0.7),
    ]
    if kind == "lamp":
        arm = [0, height, toward * 1.6, height + 0.3]
        shapes.append(Shape(strokes([arm], 0.12), color, "pole"))
        shapes.append(
            Shape(strokes([[toward * 1.3, height + 0.25, toward * 2.1, height + 0.3]], 0.22), color * 0.8, "pole")
        )
    elif kind == "light":
        shapes += _traffic_light(rng, 0.0, height - 1.1)
        if rng.random() < 0.5:
            shapes.append(Shape(strokes([[0, height + 0.9, toward * 2.6, height + 0.9]], 0.14), color, "pole"))
            shapes.insert(0, Shape(rects([[-half, height - 0.2, half, height + 0.9]]), color, "pole"))
            shapes += _traffic_light(rng, toward * 2.6, height - 0.2)
    else:
        shapes += _sign(rng, height - 0.1)
        if rng.random() < 0.6:
            shapes += _sign(rng, height - 1.25)
    canvas.draw(sheet, shapes)


def _traffic_light(rng: Rng, u: float, v: float) -> list[Shape]:
    body = tint(rng, ((34, 36, 36), (48, 52, 46), (58, 54, 40)), 6)
    on = rng.integers(3)
    lamps = ((70, 225, 130), (250, 190, 60), (245, 62, 48))
    shapes = [
        Shape(rects([[u - 0.32, v, u + 0.32, v + 1.55]]), body, "traffic light"),
        Shape(rects([[u - 0.27, v + 0.05, u + 0.27, v + 1.5]]), body * 0.7),
    ]
    for index, lamp in enumerate(lamps):
        glow = np.array(lamp) if index == on else np.array(lamp) * 0.22
        shapes.append(Shape(disc(u, v + 0.28 + 0.5 * index, 0.2), glow))
    return shapes


def _sign(rng: Rng, v: float) -> list[Shape]:
    red, blue, white = tint(rng, ((196, 40, 44),), 8), tint(rng, ((36, 84, 168),), 8), (232, 232, 228)
    kind, ink = rng.integers(6), (40, 40, 44)
    if kind == 0:  # a limit
        marks = rects([[-0.22, v - 0.2, -0.04, v + 0.2], [0.06, v - 0.2, 0.24, v + 0.2]])
        return [Shape(disc(0, v, 0.54), red, "traffic sign"), Shape(disc(0, v, 0.4), white), Shape(marks, ink)]
    if kind == 1:  # a warning
        edge, inside = disc(0, v, 0.66, sides=3), disc(0, v, 0.42, sides=3)
        turned = [np.stack([v - outline[..., 1], v + outline[..., 0]], axis=-1) for outline in (edge, inside)]
        return [
            Shape(turned[0], red, "traffic sign"),
            Shape(turned[1], white),
            Shape(rects([[-0.05, v - 0.12, 0.05, v + 0.22]]), ink),
        ]
    if kind == 2:  # right of way
        edge, inside = disc(0, v, 0.6, sides=4), disc(0, v, 0.42, sides=4)
        return [Shape(edge, white, "traffic sign"), Shape(inside, tint(rng, ((244, 196, 30),), 8))]
    if kind == 3:  # stop
        bar = rects([[-0.38, v - 0.1, 0.38, v + 0.1]])
        return [Shape(disc(0, v, 0.56, sides=8), red, "traffic sign"), Shape(bar, white)]
    if kind == 4:  # a direction to follow
        arrow = poly((-0.08, v - 0.35), (0.08, v - 0.35), (0.08, v), (0.26, v), (0, v + 0.36), (-0.26, v), (-0.08, v))
        return [Shape(disc(0, v, 0.54), blue, "traffic sign"), Shape(arrow, white)]
    square = rects([[-0.5, v - 0.5, 0.5, v + 0.5]])  # parking or a crossing
    mark = poly((-0.2, v - 0.35), (-0.05, v - 0.35), (0.25, v + 0.1), (0.1, v + 0.38), (-0.2, v + 0.38))
    return [Shape(square, blue, "traffic sign"), Shape(mark, white)]
