"""What stands where in a synthetic street."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from cityseg_ext.functional.synthetic.buildings import paint_fence, paint_house, paint_plant, paint_wall
from cityseg_ext.functional.synthetic.canvas import Canvas, Shape, rects, tint, upright
from cityseg_ext.functional.synthetic.ground import Street
from cityseg_ext.functional.synthetic.people import paint_bicycle, paint_motorcycle, paint_person
from cityseg_ext.functional.synthetic.poles import paint_pole
from cityseg_ext.functional.synthetic.vehicles import paint_bus, paint_car, paint_train, paint_truck

Rng = np.random.Generator
Thing = tuple[int, float, Callable[[Canvas], None]]  # layer, position along the street, how to paint

SEGMENT = 16.0  # metres of street that are laid out together
_KERB = {-1: 5.6, 1: 3.9}  # metres from the middle to the road's end; cars park on the left
_PATH, _VERGE = 2.8, 3.2  # metres: width of the sidewalks, and of the strips of grass behind them
# Layers from the outside in, with the most metres that one of their things reaches along the street: trees behind the
# fronts, fronts, what stands on the sidewalk, what is parked, what moves.
REACH = {-1: 1.0, 0: 17.0, 1: 1.0, 2: 9.0, 3: 16.0}
_ONCOMING = (paint_bus, paint_car, paint_train, paint_car, paint_truck, paint_car)
_FRONTS = ("house", "wall", "house", "fence")


def lay_street(rng: Rng) -> Street:
    """Choose the cross-section of a street: what its ground is made of, from left to right."""
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


def lay_segment(rng: Rng, seed: int, number: int, street: Street) -> Iterator[Thing]:
    """Everything that stands in one segment. Kinds take turns, so that each is seen in most scenes."""
    start = number * SEGMENT
    for side, verge, turn in ((-1, street.labels[1], number + seed), (1, street.labels[-2], number + seed // 2 + 2)):
        path = _KERB[side] + _PATH
        line = side * (path + (_VERGE if verge == "terrain" else 0.3))
        yield from _front(rng, _FRONTS[turn % 4], line, start)
        if verge == "terrain":
            for _ in range(rng.integers(0, 3)):
                x, z = side * rng.uniform(path + 0.8, path + 2.6), start + rng.uniform(0, SEGMENT)
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
        split = rng.uniform(0.4, 0.6) * SEGMENT
        for z, length in ((start, split), (start + split, SEGMENT - split)):
            height = rng.uniform(7, 17)
            yield 0, z, partial(paint_house, rng=_fork(rng), x=x, z=z, length=length, height=height)
        return
    for _ in range(3):
        z, wide = start + rng.uniform(2, SEGMENT), rng.uniform(3.5, 6.0)
        behind = x + side * rng.uniform(2.5, 4.5)
        tree = partial(
            paint_plant, rng=_fork(rng), x=behind, z=z, wide=wide, tall=wide * 1.1, trunk=rng.uniform(1.4, 3)
        )
        yield -1, z, tree
    paint = paint_wall if kind == "wall" else paint_fence
    yield 0, start, partial(paint, rng=_fork(rng), x=x, z=start, length=SEGMENT)


def _sidewalk(rng: Rng, side: int, start: float, turn: int) -> Iterator[Thing]:
    kerb = _KERB[side]
    for index, kind in enumerate((("light", "sign"), ("sign", "lamp"), ("light", "sign"), ("lamp", "sign"))[turn % 4]):
        z = start + (index + rng.uniform(0.2, 0.8)) * SEGMENT / 2
        yield 1, z, partial(paint_pole, rng=_fork(rng), x=side * (kerb + rng.uniform(0.3, 0.7)), z=z, kind=kind)
    for _ in range(rng.integers(1, 4)):
        z = start + rng.uniform(0, SEGMENT)
        yield 1, z, partial(paint_person, rng=_fork(rng), x=side * (kerb + rng.uniform(0.6, _PATH - 0.4)), z=z)
    paint = (paint_bicycle, paint_motorcycle)[turn % 2]
    z = start + rng.uniform(0, SEGMENT)
    heading = rng.uniform(-0.5, 0.5)
    yield (
        1,
        z,
        partial(paint, rng=_fork(rng), x=side * (kerb + rng.uniform(0.7, 1.4)), z=z, heading=heading, ridden=False),
    )
    if rng.random() < 0.35:
        z = start + rng.uniform(0, SEGMENT)
        yield 1, z, partial(_paint_clutter, rng=_fork(rng), x=side * (kerb + rng.uniform(0.8, _PATH - 0.5)), z=z)
    if rng.random() < 0.3:
        z = start + rng.uniform(0, SEGMENT)
        tree = partial(paint_plant, rng=_fork(rng), x=side * (kerb + _PATH - 0.3), z=z, wide=3.2, tall=3.6, trunk=2.6)
        yield 1, z, tree


def _lanes(rng: Rng, start: float, turn: int) -> Iterator[Thing]:
    oncoming, z = _ONCOMING[turn % 6], start + rng.uniform(8, 12)
    yield 3, z, partial(oncoming, rng=_fork(rng), x=-1.95, z=z, oncoming=True)
    if rng.random() < 0.7:
        parked, z = (paint_car, paint_car, paint_truck, paint_car)[turn % 4], start + rng.uniform(0, 5)
        yield 2, z, partial(parked, rng=_fork(rng), x=-4.6, z=z, oncoming=rng.random() < 0.5)
    paint = (paint_bicycle, paint_motorcycle)[turn % 2]
    z, heading = start + rng.uniform(0, SEGMENT), rng.choice([-1, 1]) * rng.uniform(0.1, 0.8)
    yield 3, z, partial(paint, rng=_fork(rng), x=rng.uniform(2.7, 3.3), z=z, heading=heading, ridden=True)


def _paint_clutter(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    """A bin or a bag: void, as ``static`` or ``dynamic``."""
    wide, high = rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.2)
    label, color = str(rng.choice(["static", "dynamic"])), tint(rng, ((70, 90, 70), (120, 110, 90), (60, 60, 66)))
    lid = rects([[-wide / 2 - 0.05, high, wide / 2 + 0.05, high + 0.12]])
    body = [Shape(rects([[-wide / 2, 0, wide / 2, high]]), color, label), Shape(lid, color * 0.7, label)]
    canvas.draw(upright(x, z), body)
