"""A pinhole camera on a street, and a canvas that draws photo and labels with the same polygons.

World coordinates are metres: x to the right of the road's centre line, y up from the ground, z along the street. All
that stands on the street is made of :class:`Shape` s on flat sheets. A sheet is four corners in the world, (4, 3), and
a shape's outline is given in the sheet's (u, v): (0, 0), (1, 0), (1, 1), (0, 1) are the corners, and outlines may
reach beyond them. A sheet of one metre by one metre therefore takes outlines in metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cityseg_ext.labels import LABEL_BY_NAME

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[Any]  # float32 or float64

NEAR = 0.6  # metres before the camera at which polygons are cut
FAR = 80.0  # metres before the camera beyond which nothing is drawn
DETAIL = 32.0  # metres before the camera beyond which what has no label of its own is finer than a pixel
_SHIFT = 4  # outlines are drawn to 1/16 pixel, so that things move smoothly


class Shape(NamedTuple):
    """Outlines of one colour.

    Attributes:
        outlines: float (N, M, 2), N polygons of M corners in the sheet's (u, v). Where polygons of one shape overlap
            they cancel out, which makes rings.
        color: RGB 0 to 255; None draws the label only.
        label: name of the label; None draws the photo only (details of what is already there, or shadows).
    """

    outlines: FloatArray
    color: FloatArray | Sequence[float] | None
    label: str | None = None


@dataclass(frozen=True)
class View:
    """Where the camera is and what it sees.

    Attributes:
        height: rows of the picture.
        width: columns of the picture.
        horizon: height of the horizon as a share of the rows, from the top.
        x: lateral position in metres.
        z: position along the street in metres.
        eye: height above the ground in metres.
        bend: how the street curves: lateral offset per squared metre of depth.
    """

    height: int
    width: int
    horizon: float
    x: float
    z: float
    eye: float = 1.75
    bend: float = 0.0

    @property
    def focal(self) -> float:
        """Focal length in pixels; the field of view is 67 degrees across, whatever the size."""
        return 0.75 * self.width

    def relative(self, world: FloatArray) -> FloatArray:
        """World points (..., 3) as seen from the camera: metres right, metres up, metres ahead."""
        points = world - np.array([self.x, self.eye, self.z])
        points[..., 0] += self.bend * points[..., 2] * np.abs(points[..., 2])
        return points

    def pixels(self, relative: FloatArray) -> FloatArray:
        """Points (..., 3) from :meth:`relative`, all ahead of the camera, as pixel coordinates (..., 2)."""
        centre = np.array([self.width / 2 - 0.5, self.height * self.horizon - 0.5])
        scale = np.array([self.focal, -self.focal])
        return centre + relative[..., :2] * scale / relative[..., 2:]


class Canvas:
    """Photo and labels in the making; what is drawn later covers what was drawn before.

    Attributes:
        view: the camera.
        photo: uint8 (H, W, 3), RGB.
        labels: uint8 (H, W), official label ids.
        sun: -1, 0 or 1: the sun stands on the left, nowhere (overcast) or on the right.
        lit: share of the windows with a light on, 0 to 1.
    """

    def __init__(self, view: View, haze: FloatArray, haze_depth: float, sun: int, lit: float) -> None:
        self.view, self.sun, self.lit = view, sun, lit
        self.photo: UInt8Array = np.zeros((view.height, view.width, 3), np.uint8)
        self.labels: UInt8Array = np.zeros((view.height, view.width), np.uint8)
        self._haze, self._haze_depth = haze, haze_depth

    def hazy(self, color: FloatArray, depth: FloatArray | float) -> FloatArray:
        """The colour (..., 3) as it looks through ``depth`` metres of air; depth broadcasts against (..., 1)."""
        clear = np.exp(-np.asarray(depth) / self._haze_depth)
        return clear * color + (1 - clear) * self._haze

    def draw(self, sheet: FloatArray, shapes: Sequence[Shape]) -> None:
        """Draw shapes in their order on a sheet (4, 3)."""
        ahead = float(sheet[:, 2].min()) - self.view.z
        if ahead > FAR:
            return
        if ahead > DETAIL:
            shapes = [shape for shape in shapes if shape.label is not None]
        if not shapes:
            return
        uv = np.concatenate([shape.outlines.reshape(-1, 2) for shape in shapes])
        u, v = uv[:, :1], uv[:, 1:]
        world = (sheet[0] * (1 - u) + sheet[1] * u) * (1 - v) + (sheet[3] * (1 - u) + sheet[2] * u) * v
        points = self.view.relative(world)
        depth = points[:, 2]
        if depth.max() < NEAR:
            return
        clear = math.exp(-max(NEAR, float(depth.sum()) / len(depth)) / self._haze_depth)
        whole = bool(depth.min() >= NEAR)
        corners = self._fixed(points) if whole else points
        if whole and (corners[:, 0].max() < 0 or corners[:, 0].min() > self.view.width << _SHIFT):
            return
        start = 0
        for shape in shapes:
            count, sides = shape.outlines.shape[:2]
            part = corners[start : start + count * sides].reshape(count, sides, -1)
            start += count * sides
            polygons = list(part) if whole else [self._fixed(cut) for cut in _ahead(part)]
            if polygons:
                self._fill(polygons, shape, clear)

    def _fixed(self, points: FloatArray) -> npt.NDArray[np.int32]:
        """Points ahead of the camera as pixel coordinates in sixteenths."""
        return np.rint(self.view.pixels(points) * (1 << _SHIFT)).astype(np.int32)

    def _fill(self, polygons: list[npt.NDArray[np.int32]], shape: Shape, clear: float) -> None:
        if shape.label is not None:
            cv2.fillPoly(self.labels, polygons, LABEL_BY_NAME[shape.label].id, cv2.LINE_8, _SHIFT)
        if shape.color is not None:
            mixed = [clear * float(c) + (1 - clear) * float(h) for c, h in zip(shape.color, self._haze, strict=True)]
            red, green, blue = (min(max(value, 0.0), 255.0) for value in mixed)
            cv2.fillPoly(self.photo, polygons, (red, green, blue), cv2.LINE_AA, _SHIFT)


def _ahead(polygons: FloatArray) -> list[FloatArray]:
    """Cut polygons (N, M, 3) at the near plane; returns what is ahead of it, (m, 3) each."""
    front = polygons[..., 2] >= NEAR
    ahead: list[FloatArray] = []
    for polygon, inside in zip(polygons, front, strict=True):
        if inside.all():
            ahead.append(polygon)
        if not inside.any() or inside.all():
            continue
        kept: list[FloatArray] = []
        for start, end, a, b in zip(polygon, np.roll(polygon, -1, 0), inside, np.roll(inside, -1), strict=True):
            if a:
                kept.append(start)
            if a != b:
                kept.append(start + (end - start) * (NEAR - start[2]) / (end[2] - start[2]))
        ahead.append(np.stack(kept))
    return ahead


def upright(x: float, z: float, heading: float = 0.0, scale: float = 1.0) -> FloatArray:
    """A standing sheet of one metre by one metre, (4, 3); heading 0 faces the camera, pi/2 runs along the street."""
    across, along = math.cos(heading) * scale, math.sin(heading) * scale
    near, far = [x, 0, z], [x + across, 0, z + along]
    return np.array([near, far, [far[0], scale, far[2]], [x, scale, z]], float)


def lying(x: float, z: float) -> FloatArray:
    """A sheet of one metre by one metre on the ground, (4, 3): u to the right, v along the street."""
    return np.array([[x, 0, z], [x + 1, 0, z], [x + 1, 0, z + 1], [x, 0, z + 1]], float)


def rects(boxes: FloatArray | Sequence[Sequence[float]]) -> FloatArray:
    """Boxes (N, 4) of u0, v0, u1, v1 as outlines (N, 4, 2).

    Example:
        >>> rects([[0, 0, 2, 1]]).tolist()
        [[[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]]]
    """
    return np.asarray(boxes, float)[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]


def poly(*corners: tuple[float, float]) -> FloatArray:
    """One polygon as outlines (1, M, 2)."""
    return np.array([corners], float)


def disc(u: float, v: float, radius: float, ratio: float = 1.0, sides: int = 16) -> FloatArray:
    """An ellipse as outlines (1, sides, 2); ``ratio`` is its height over its width."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    return np.stack([u + radius * np.cos(angle), v + radius * ratio * np.sin(angle)], axis=-1)[None]


def strokes(lines: FloatArray | Sequence[Sequence[float]], width: float) -> FloatArray:
    """Straight lines (N, 4) of u0, v0, u1, v1 with a width, as outlines (N, 4, 2)."""
    ends = np.asarray(lines, float).reshape(-1, 2, 2)
    along = ends[:, 1] - ends[:, 0]
    side = np.stack([-along[:, 1], along[:, 0]], axis=-1) * (width / 2 / np.hypot(along[:, 0], along[:, 1]))[:, None]
    return np.stack([ends[:, 0] - side, ends[:, 1] - side, ends[:, 1] + side, ends[:, 0] + side], axis=1)


def tint(rng: np.random.Generator, palette: Sequence[Sequence[float]], spread: float = 14.0) -> FloatArray:
    """One of the colours, a little off: brightness by twice the spread, each channel by the spread."""
    color = np.asarray(palette[int(rng.integers(len(palette)))], float)
    return np.clip(color + rng.normal(0, spread) + rng.normal(0, spread / 2, 3), 8, 247)
