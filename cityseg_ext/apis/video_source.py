"""Where the frames of a video come from: a file, a camera, or pictures."""

from __future__ import annotations

import glob
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from cityseg_ext.apis.image_inputs import find_images
from cityseg_ext.checks import expected, file_problem
from cityseg_ext.transforms.image import read_photo

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")
"""Names that are taken for videos; others, such as .gif, can be read as videos too."""

_PATIENCE = 1000  # reads that may fail one after the other: damaged frames fail too, and at the end it costs nothing
_ROUNDING = 0.001  # seconds: some containers store times in milliseconds
_FASTEST = 1000  # frames per second; headers that state more state a clock, or nonsense
_MOST = 10**8  # frames; headers that state more state nonsense


@dataclass(frozen=True)
class Frame:
    """A picture of a video.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        seconds: when it is shown; 0 for the first one, and later for each that follows.
    """

    image: np.ndarray
    seconds: float


class Source(Protocol):
    """Frames in their order.

    Attributes:
        name: what messages call it.
        fps: frames per second, on average.
        promised: how many frames there should be, which may be wrong; None if nobody knows.
        live: whether it ends only when it is stopped.
    """

    name: str
    fps: float
    promised: int | None
    live: bool

    def __iter__(self) -> Iterator[Frame]:
        """Read from the first frame; a source is read once."""


class VideoFile:
    """The frames of a video file, turned upright as its rotation flag says: a :class:`Source`.

    Args:
        path: the file.
        fps: frames per second, in place of the times that the file states.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no video that can be read, or states no frame rate and ``fps`` is None.
    """

    live = False

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        self.name = str(path)
        if not Path(path).is_file():
            raise FileNotFoundError(file_problem(path, "an existing video", "no file"))
        # FFmpeg would take what stands before the colon of a relative name for a protocol.
        self._capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            cure = "Play it: if no player can, it is damaged, or was cut off while it was written."
            raise ValueError(file_problem(path, "a video that can be read", f"{Path(path).stat().st_size} bytes", cure))
        self._even = fps is not None
        self.fps = _frame_rate(self.name, self._capture, fps)
        stated = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.promised = int(stated) if 0 < stated < _MOST else None

    def __iter__(self) -> Iterator[Frame]:
        return _timed(_read(self._capture, None if self._even else self._position, _PATIENCE), self.fps)

    def _position(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


class Camera:
    """The pictures of a camera, until it is stopped: a :class:`Source`.

    Args:
        index: the camera's number; 0 is the first one.
        fps: frames per second of the video, in place of the times at which pictures come.

    Raises:
        ValueError: if there is no such camera, or it states no frame rate and ``fps`` is None.
    """

    live = True
    promised = None

    def __init__(self, index: int, fps: float | None = None) -> None:
        self.name = f"camera {index}"
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise ValueError(expected("camera", "the number of one that is connected and free, 0 is the first", index))
        self._even = fps is not None
        self.fps = _frame_rate(self.name, self._capture, fps)

    def __iter__(self) -> Iterator[Frame]:
        return _timed(_read(self._capture, None if self._even else time.monotonic, patience=0), self.fps)


class Pictures:
    """The pictures of a folder or pattern in the order of their names, 9 before 10: a :class:`Source`.

    Args:
        source: see :func:`~cityseg_ext.apis.image_inputs.find_images`.
        fps: frames per second.

    Raises:
        FileNotFoundError: if there is no picture.
    """

    live = False

    def __init__(self, source: str | Path, fps: float) -> None:
        self.name, self.fps = str(source), fps
        self._files = sorted(find_images(str(source)).values(), key=_by_number)
        self.promised = len(self._files)

    def __iter__(self) -> Iterator[Frame]:
        return _timed(((read_photo(file), math.nan) for file in self._files), self.fps)


def is_video(source: str) -> bool:
    """Whether a path or number stands for a video: a file that is called like one, or a camera.

    Example:
        >>> is_video("drive.MP4"), is_video("0"), is_video("street.jpg")
        (True, True, False)
    """
    return _is_camera(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES


def open_source(source: str | int | Path, fps: float | None = None) -> Source:
    """Open a video file, a folder or pattern of pictures, or a camera.

    Args:
        source: a path, a pattern such as ``'drive/*.png'``, or a camera's number.
        fps: frames per second; None for those that the source states, which pictures do not.

    Returns:
        A source of frames.

    Raises:
        FileNotFoundError, ValueError: if it cannot be opened.
    """
    source = str(source)
    if fps is not None and not 0 < fps <= _FASTEST:
        raise ValueError(expected("fps", f"above 0 and at most {_FASTEST} frames per second", fps))
    if _is_camera(source):
        return Camera(int(source), fps)
    if os.path.isfile(source) or not (os.path.isdir(source) or glob.has_magic(source)):
        return VideoFile(source, fps)
    if fps is None:
        raise ValueError(expected("fps", "given for pictures", "none", "Choose the frame rate: --fps 25."))
    return Pictures(source, fps)


def _is_camera(source: str) -> bool:
    return source.isdecimal() and not os.path.exists(source)


def _by_number(path: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path)]


def _frame_rate(name: str, capture: cv2.VideoCapture, fps: float | None) -> float:
    stated = capture.get(cv2.CAP_PROP_FPS)
    if fps is None and not 0 < stated <= _FASTEST:
        cure = "Choose the frame rate: --fps 25."
        raise ValueError(file_problem(name, "a source that states its frames per second", stated, cure))
    return stated if fps is None else fps


def _read(
    capture: cv2.VideoCapture, clock: Callable[[], float] | None, patience: int
) -> Iterator[tuple[np.ndarray, float]]:
    """Images in RGB, with the clock's time of each; NaN without a clock."""
    failed = 0
    try:
        while failed <= patience:
            there, image = capture.read()
            failed = 0 if there else failed + 1
            if there:
                yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB), math.nan if clock is None else clock()
    finally:
        capture.release()


def _timed(images: Iterable[tuple[np.ndarray, float]], fps: float) -> Iterator[Frame]:
    """Frames whose times start at 0 and grow, whatever the clock says; those that come evenly do so exactly."""
    start, last = math.nan, -1 / fps
    for index, (image, clock) in enumerate(images):
        start = clock if index == 0 else start
        seconds, even = clock - start, index / fps
        if not seconds > last:  # NaN too
            seconds = last + 1 / fps
        if abs(seconds - even) < _ROUNDING:
            seconds = even
        last = seconds
        yield Frame(image, seconds)
