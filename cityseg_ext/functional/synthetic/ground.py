"""Sky, ground and the far end of a synthetic street."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from cityseg_ext.functional.synthetic.buildings import HOUSE_COLORS, LEAF_COLORS
from cityseg_ext.functional.synthetic.canvas import FAR, Canvas, FloatArray, Shape, rects, tint, upright
from cityseg_ext.labels import LABEL_BY_NAME

Rng = np.random.Generator

_TILE = 256  # side of the noise tile; a power of two, so that wrapping round is a bit mask


@dataclass(frozen=True)
class Street:
    """The cross-section of a street, from left to right: its ground as strips between lateral positions.

    Attributes:
        edges: lateral positions in metres at which one strip ends and the next begins, ascending.
        labels: label names of the strips, one more than edges.
        colors: float (len(labels), 3), RGB of the strips.
        grain: float (len(labels),), how rough the strips look.
        shadow: metres from the houses' line that their shadow reaches on sunny days.
    """

    edges: tuple[float, ...]
    labels: tuple[str, ...]
    colors: FloatArray
    grain: FloatArray
    shadow: float


@lru_cache(maxsize=1)
def _noise_tile() -> FloatArray:
    """Seamless noise (256, 256) of several scales, mean 0 and deviation 1; the same for every scene."""
    rng = np.random.default_rng(0)
    tile = np.zeros((_TILE, _TILE), np.float32)
    for sigma in (0.8, 2.5, 8.0, 24.0):
        wide = np.tile(rng.standard_normal((_TILE, _TILE)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(wide, (0, 0), sigma)[_TILE : 2 * _TILE, _TILE : 2 * _TILE]
        tile += smooth / smooth.std()
    return tile / tile.std()


def _noise(z: FloatArray, x: FloatArray, per_metre: float) -> FloatArray:
    rows, columns = (np.floor(axis * per_metre).astype(np.int32) & (_TILE - 1) for axis in (z, x))
    return _noise_tile()[rows, columns]


def paint_sky(canvas: Canvas, rng: Rng, zenith: FloatArray, low: FloatArray, clouds: float) -> None:
    """Fill the whole picture with sky: a gradient from ``zenith`` to ``low`` (RGB), and clouds (0 none, 1 overcast)."""
    view = canvas.view
    end = max(2, round(view.height * view.horizon) + 2)
    fall = np.linspace(0, 1, end)[:, None, None] ** 0.7
    top, left = rng.integers(0, _TILE // 2, 2)
    crop = _noise_tile()[top : top + 96, left : left + 120]
    puffs = cv2.resize(crop, (view.width, end), interpolation=cv2.INTER_CUBIC)[..., None]
    cover = np.clip((puffs + 2.6 * clouds - 1.1) * 0.55, 0, 0.85) * (0.35 + 0.65 * (1 - fall))
    white = 0.45 * low + 0.55 * np.array([250, 249, 247]) - 14 * np.clip(puffs - 0.6, 0, 2) * clouds
    sky = zenith * (1 - fall) + low * fall
    canvas.photo[:end] = np.clip(sky * (1 - cover) + white * cover, 0, 255)
    canvas.labels[:] = LABEL_BY_NAME["sky"].id


def paint_ground(canvas: Canvas, street: Street) -> None:
    """Fill everything below the horizon: every pixel's ray meets the ground at some (x, z), which tells its strip."""
    view = canvas.view
    line = view.height * view.horizon
    first = int(np.ceil(line + view.focal * view.eye / 400))  # the ground ends 400 m away
    depth = view.focal * view.eye / (np.arange(first, view.height, dtype=np.float32) + 0.5 - line)[:, None]
    across = (np.arange(view.width, dtype=np.float32) + 0.5 - view.width / 2)[None] / view.focal
    x = view.x + across * depth - view.bend * depth**2
    z = np.broadcast_to(depth + view.z, x.shape)
    strip = np.zeros(x.shape, np.uint8)
    for edge in street.edges:
        strip += x > edge
    canvas.labels[first:] = np.array([LABEL_BY_NAME[name].id for name in street.labels], np.uint8)[strip]

    footprint = depth / view.focal  # metres per pixel: fades what is finer than a pixel
    shade = 1 + street.grain[strip] * (
        _noise(z, x, 22.0) / (1 + 30 * footprint) + 0.7 * _noise(z * 0.4, x, 3.0) / (1 + 4 * footprint)
    )
    shade *= 1 - _slabs(x, z, footprint) * np.array([name == "sidewalk" for name in street.labels])[strip]
    if canvas.sun:
        outer = street.edges[-1] + 1.5 if canvas.sun > 0 else street.edges[0] - 1.5
        reach = (outer - x) * canvas.sun - street.shadow - 0.9 * np.sign(np.sin(z * 0.43))
        shade *= 1 - 0.4 * np.clip(0.5 - reach / (footprint + 0.15), 0, 1)
    color = street.colors[strip] * shade[..., None]
    color += (232 - color) * _markings(x, z, footprint, street)[..., None]
    canvas.photo[first:] = np.clip(canvas.hazy(color, depth[..., None]), 0, 255)
    canvas.photo[round(line) : first] = canvas.photo[first]
    canvas.labels[round(line) : first] = canvas.labels[first]


def _slabs(x: FloatArray, z: FloatArray, footprint: FloatArray) -> FloatArray:
    """How dark the joints between paving slabs are, 0 to 0.25."""
    joint = np.minimum(np.abs((x % 1.0) - 0.5), np.abs((z % 1.0) - 0.5))
    return 0.25 * np.clip((0.04 + footprint - joint) / (footprint + 0.02), 0, 1) * 0.04 / (0.04 + footprint)


def _markings(x: FloatArray, z: FloatArray, footprint: FloatArray, street: Street) -> FloatArray:
    """How much of a pixel is white paint or kerb stone, 0 to 1."""

    def line(centre: float, half: float) -> FloatArray:
        return np.clip((half - np.abs(x - centre)) / footprint + 0.5, 0, 1)

    dashes = np.clip((1.6 - np.abs(z % 7.0 - 3.5)) / (8 * footprint) + 0.5, 0, 1)
    kerbs = sum(
        line(edge, 0.12) * 0.38
        for edge, left, right in zip(street.edges, street.labels, street.labels[1:], strict=False)
        if "sidewalk" in (left, right) and "terrain" not in (left, right)
    )
    return np.asarray(0.75 * line(0.0, 0.09) * dashes + 0.6 * line(-3.7, 0.08) + 0.6 * line(3.75, 0.07) + kerbs)


def paint_backdrop(canvas: Canvas, rng: Rng) -> None:
    """Close the street's far end with hazy trees and houses, which stay at the same distance."""
    sheet = upright(0.0, canvas.view.z + FAR - 2)
    left = np.arange(-60, 60, 6.0) + rng.uniform(-1, 1, 20)
    tops = rng.uniform(4, 13, 20)
    houses = np.stack([left, np.zeros(20), left + rng.uniform(5, 8, 20), tops], axis=1)
    for house in houses:
        canvas.draw(sheet, [Shape(rects(house[None]), tint(rng, HOUSE_COLORS), "building")])
    ridge = np.concatenate([[[-70.0, -2.0]], np.stack([np.linspace(-70, 70, 90), rng.uniform(2, 5.5, 90)], 1)])
    outline = np.concatenate([ridge, [[70.0, -2.0]]])[None]
    canvas.draw(sheet, [Shape(outline, tint(rng, LEAF_COLORS), "vegetation")])
