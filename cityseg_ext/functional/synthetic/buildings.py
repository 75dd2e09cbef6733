"""What lines a synthetic street: houses, walls, fences, plants."""

from __future__ import annotations

import numpy as np

from cityseg_ext.functional.synthetic.canvas import (
    DETAIL,
    Canvas,
    FloatArray,
    Shape,
    disc,
    lying,
    poly,
    rects,
    tint,
    upright,
)

Rng = np.random.Generator

HOUSE_COLORS = (
    (196, 178, 148), (172, 128, 104), (150, 92, 76), (186, 186, 180), (206, 192, 130), (140, 150, 160),
    (180, 150, 140), (120, 112, 106), (214, 208, 196), (158, 168, 140),
)  # fmt: skip
WALL_COLORS = ((142, 134, 124), (158, 112, 92), (176, 170, 158), (112, 112, 116))
LEAF_COLORS = ((62, 92, 38), (84, 104, 42), (48, 80, 46), (104, 108, 48), (70, 96, 60))


def paint_house(canvas: Canvas, rng: Rng, x: float, z: float, length: float, height: float) -> None:
    """A house whose front runs along the street at ``x`` from ``z`` on."""
    side = np.sign(x)
    base = tint(rng, HOUSE_COLORS, 18)
    front = base * (1.0 if canvas.sun == 0 else 1.12 if canvas.sun == -side else 0.78)
    trim, roof = np.clip(front * 1.25 + 12, 0, 250), tint(rng, ((122, 72, 58), (84, 80, 82), (98, 88, 78)))
    ridge = rng.uniform(0.2, 3.0)
    gable = upright(x, z)
    gable[[1, 2], 0] += (side - 1) * 1.0  # u points away from the street
    body = poly((0, -0.1), (10, -0.1), (10, height), (5, height + ridge), (0, height))
    canvas.draw(gable, [Shape(body, base * 0.84, "building")])
    panes = _grid(rng, 0.8, 9.4, 3.6, height - 0.5, 2.9, 3.1)
    canvas.draw(gable, [Shape(panes, base * 0.4), Shape(rects([[0, -0.1, 10, 0.5]]), base * 0.6)])
    slope = np.array([[x, height, z], [x, height, z + length], [0, 0, 0], [0, 0, 0]], float)
    slope[2:] = slope[[1, 0]] + np.array([side * 5, ridge, 0])
    canvas.draw(slope, [Shape(rects([[0, 0, 1, 1]]), roof, "building")])
    canvas.draw(upright(x, z, np.pi / 2), _front(canvas, rng, length, height, front, trim))


def _grid(rng: Rng, u0: float, u1: float, v0: float, v1: float, du: float, dv: float) -> FloatArray:
    """Windows as outlines (N, 4, 2), about ``du`` by ``dv`` metres from each other; at least one."""
    columns, floors = max(1, round((u1 - u0) / du)), max(1, int((v1 - v0) / dv))
    u, v = np.meshgrid(u0 + (np.arange(columns) + 0.5) * (u1 - u0) / columns, v0 + np.arange(floors) * dv)
    half, tall = rng.uniform(0.45, 0.75), rng.uniform(1.4, 1.9)
    u, v = u.ravel(), v.ravel()
    return rects(np.stack([u - half, v, u + half, v + tall], axis=1))


def _front(canvas: Canvas, rng: Rng, length: float, height: float, color: FloatArray, trim: FloatArray) -> list[Shape]:
    stains = rng.uniform((0, 0), (length - 1, height - 0.5), (14, 2))
    stains = np.concatenate([stains, stains + rng.uniform(0.2, 1.0, (14, 2))], axis=1)
    frames = _grid(rng, 0.4, length - 0.4, 3.7, height - 0.4, rng.uniform(1.9, 2.9), rng.uniform(2.7, 3.2))
    middle = frames.mean(axis=1, keepdims=True)
    panes = middle + (frames - middle) * 0.78
    light, tone = rng.random(len(panes)) < canvas.lit, rng.random(len(panes)) < 0.5
    glass = tint(rng, ((52, 62, 74), (70, 88, 104), (40, 44, 48)))
    shops = _grid(rng, 0.3, length - 0.3, 0.5, 2.4, 3.2, 9.0)
    shops[:, 2:, 1] = 2.6
    shapes = [
        Shape(rects([[0, -0.1, length, height]]), color, "building"),
        Shape(rects(stains), color * 0.94),
        Shape(rects([[0, -0.1, length, 0.45], [0, 3.0, length, 3.25]]), color * 0.7),
        Shape(rects([[0, height - 0.35, length, height + 0.1]]), trim, "building"),
        Shape(frames, trim),
        Shape(panes[~light & tone], glass),
        Shape(panes[~light & ~tone], glass * 1.35),
        Shape(panes[light], (252, 222, 150)),
        Shape(shops, glass * 0.8 if rng.random() < 0.6 else (236, 206, 150)),
    ]
    if rng.random() < 0.5:  # a shop's sign
        shapes.append(Shape(rects([[0.5, 2.65, length * 0.6, 3.2]]), rng.uniform(30, 230, 3)))
    return [shape for shape in shapes if len(shape.outlines)]


def paint_wall(canvas: Canvas, rng: Rng, x: float, z: float, length: float) -> None:
    """A wall along the street: courses of stones, a coping, sometimes graffiti."""
    height, color = rng.uniform(1.7, 2.8), tint(rng, WALL_COLORS)
    rows = np.arange(0.3, height - 0.2, 0.42)
    courses = np.stack([0 * rows, rows, 0 * rows + length, rows + 0.05], axis=1)
    u, v = np.meshgrid(np.arange(0.5, length - 0.2, 1.1), rows[:-1])
    joints = np.stack([u.ravel(), v.ravel(), u.ravel() + 0.05, v.ravel() + 0.42], axis=1)
    joints[:, ::2] += 0.55 * ((v.ravel() / 0.42).round() % 2)[:, None]
    shapes = [
        Shape(rects([[0, -0.1, length, height]]), color, "wall"),
        Shape(rects(courses), color * 0.8),
        Shape(rects(joints[joints[:, 2] < length]), color * 0.82),
        Shape(rects([[0, height - 0.15, length, height + 0.05]]), np.clip(color * 1.2, 0, 250), "wall"),
    ]
    for _ in range(rng.integers(0, 4)):
        u0, v0 = rng.uniform(0, length - 1.5), rng.uniform(0.3, height - 1.0)
        shapes.append(Shape(disc(u0 + 0.7, v0 + 0.3, 0.6, 0.5, 7), rng.uniform(40, 220, 3)))
    canvas.draw(upright(x, z), [Shape(rects([[0, -0.1, 0.3 * np.sign(x), height]]), color * 0.8, "wall")])
    canvas.draw(upright(x, z, np.pi / 2), shapes)


def paint_fence(canvas: Canvas, rng: Rng, x: float, z: float, length: float) -> None:
    """A fence along the street; one sees through between its pickets, but all of it is labelled fence."""
    height, color = rng.uniform(1.4, 2.2), tint(rng, ((126, 104, 78), (84, 92, 88), (176, 172, 164), (56, 70, 60)))
    wide = rng.uniform(0.1, 0.3)
    u = np.arange(0, length, wide + rng.uniform(0.07, 0.16))
    pickets = np.stack([u, 0 * u + 0.05, np.minimum(u + wide, length), 0 * u + height], axis=1)
    posts = np.arange(0, length - 0.1, 2.0)
    shapes = [
        Shape(rects([[0, 0, length, height]]), None, "fence"),
        Shape(rects([[0, 0.3, length, 0.45], [0, height - 0.4, length, height - 0.25]]), color * 0.75),
        Shape(rects(pickets), color),
        Shape(rects(np.stack([posts, 0 * posts, posts + 0.16, 0 * posts + height + 0.12], 1)), color * 0.7, "fence"),
    ]
    canvas.draw(upright(x, z, np.pi / 2), shapes)


def paint_plant(canvas: Canvas, rng: Rng, x: float, z: float, wide: float, tall: float, trunk: float) -> None:
    """A tree, or with ``trunk`` 0 a bush: ragged blobs of leaves, lit from above, on a trunk (metres high)."""
    color, sheet = tint(rng, LEAF_COLORS, 12), upright(x, z)
    canvas.draw(lying(x, z), [Shape(disc(0, 0, wide * 0.5, 0.6), (52, 54, 46))])
    if trunk:
        stem = poly((-0.16, 0), (0.16, 0), (0.1, trunk + tall * 0.4), (-0.1, trunk + tall * 0.4))
        canvas.draw(sheet, [Shape(stem, tint(rng, ((84, 68, 54), (98, 90, 80))), "vegetation")])
    radius = np.array([wide, tall]) / 2
    clumps = _blobs(rng, 14, 0.62, 0.42) * radius + [0, trunk + tall / 2]
    clumps[..., 1] = np.maximum(clumps[..., 1], 0.0)
    shapes = [Shape(clump[None], color * rng.uniform(0.62, 0.8), "vegetation") for clump in clumps]
    if z - canvas.view.z < DETAIL:
        for count, lift, size, shade in (
            (30, -0.12, 0.12, 0.5),
            (34, 0.05, 0.11, 1.0),
            (30, 0.16, 0.09, 1.3),
            (18, 0.22, 0.06, 1.6),
        ):
            leaves = _blobs(rng, count, 0.72, size) * radius + [0.0, trunk + tall * (0.5 + lift)]
            leaves[..., 1] = np.maximum(leaves[..., 1], 0.0)
            shapes.append(Shape(leaves, np.clip(color * shade, 0, 245)))
    canvas.draw(sheet, shapes)


def _blobs(rng: Rng, count: int, spread: float, size: float) -> FloatArray:
    """Ragged blobs (count, 9, 2) scattered over the unit disc."""
    angle, reach = rng.uniform(0, 2 * np.pi, count), spread * np.sqrt(rng.random(count))
    centre = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1)
    turn = np.arange(9) * (2 * np.pi / 9) + angle[:, None]
    ray = size * rng.uniform(0.6, 1.25, (count, 9))
    return centre[:, None] + np.stack([ray * np.cos(turn), ray * np.sin(turn)], axis=-1)
