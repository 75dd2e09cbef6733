"""A drive along a synthetic street, as a video to predict."""

from __future__ import annotations

from collections.abc import Iterator

from cityseg_ext.apis.synthetic_cityscapes import UNSEEN_SEEDS
from cityseg_ext.apis.video_source import Frame
from cityseg_ext.functional.synthetic import render_scene


class SyntheticDrive:
    """The frames of a drive along a street that no synthetic data set holds: a ``video_source.Source``.

    Args:
        frames: how many.
        fps: frames per second.
        speed: metres per second.
        height: rows.
        width: columns.
        street: which street; at least 0.

    Attributes:
        seed: of the street.
    """

    name, live = "a synthetic drive", False

    def __init__(
        self, frames: int = 60, fps: float = 10, speed: float = 7, height: int = 256, width: int = 512, street: int = 8
    ) -> None:
        self.promised, self.fps = frames, fps
        self.seed, self._size, self._step = UNSEEN_SEEDS + street, (height, width), speed / fps

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.promised):
            scene = render_scene(self.seed, *self._size, camera=index * self._step)
            yield Frame(scene.photo, index / self.fps)
