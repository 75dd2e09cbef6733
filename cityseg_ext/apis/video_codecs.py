"""Encoders of video: each takes pictures one by one, uint8 (H, W, 3) RGB, all of one size, and the time of each."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import GifImagePlugin, Image

from cityseg_ext.checks import check_choice, did_you_mean, expected, file_problem, install_extra

try:
    import av
except ModuleNotFoundError:  # the extra `video`
    av = None

CONTAINERS = {
    ".mp4": ("h264", "mp4v", "vp9"),
    ".mov": ("h264", "mp4v"),
    ".mkv": ("h264", "mp4v", "vp9", "mjpeg"),
    ".avi": ("xvid", "mjpeg"),
    ".webm": ("vp9",),
    ".gif": ("gif",),
}
"""File suffix -> codecs that it may hold, best first."""

BROWSERS_PLAY = ("h264", "vp9", "gif")
KEEP_TIMES = ("h264", "gif")
"""Codecs whose frames are shown at times of their own; those of the others follow each other evenly."""
GIF_FPS = 50
CODECS = tuple(dict.fromkeys(codec for codecs in CONTAINERS.values() for codec in codecs))
NEED_EXTRA = install_extra("video")

_FOURCC = {"mp4v": "mp4v", "xvid": "XVID", "mjpeg": "MJPG", "vp9": "VP90"}
_TICKS = 100  # of H.264's clock in a frame: even times are exact, others rounded to a hundredth of a frame
_SHORTEST = 100 // GIF_FPS  # hundredths of a second: browsers show GIF frames that are shorter for ten


class Encoder(Protocol):
    """What all encoders do; they raise ``OSError`` or ``ValueError`` if the file cannot be written."""

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Write the next picture, which is shown from then on."""

    def close(self) -> None:
        """Write the end of the file."""


def choose_codec(suffix: str, codec: str = "auto") -> str:
    """The codec of a video file.

    Args:
        suffix: of the file, in lower case.
        codec: one of ``CODECS``, or ``'auto'`` for the best that the suffix allows and that is installed.

    Returns:
        One of ``CODECS``.

    Raises:
        ValueError: if the suffix is unknown, does not go with the codec, or the codec is not installed.

    Example:
        >>> choose_codec(".avi"), choose_codec(".mkv", "vp9")
        ('xvid', 'vp9')
    """
    if suffix not in CONTAINERS:
        rule = f"a file that ends in one of {', '.join(CONTAINERS)}"
        raise ValueError(expected("out", rule, repr(suffix), did_you_mean(suffix, CONTAINERS)))
    if codec == "auto":
        return next(one for one in CONTAINERS[suffix] if one != "h264" or av is not None)
    check_choice("codec", codec, ("auto", *CODECS))
    if codec not in CONTAINERS[suffix]:
        rule = f"one that {suffix} files hold ({', '.join(CONTAINERS[suffix])})"
        raise ValueError(expected("codec", rule, repr(codec)))
    if codec == "h264" and av is None:
        raise ValueError(expected("codec", "one that is installed", "'h264'", NEED_EXTRA))
    return codec


def open_encoder(path: Path, codec: str, height: int, width: int, fps: float) -> Encoder:
    """Begin a video file.

    Args:
        path: the file; its suffix chooses the container.
        codec: from :func:`choose_codec`.
        height: rows of all pictures; an odd number is made even with a copy of the last row, but for GIF.
        width: columns of all pictures; likewise.
        fps: frames per second.

    Returns:
        The encoder.

    Raises:
        OSError: if the file cannot be written so.
    """
    kind = {"h264": _H264, "gif": _Gif}.get(codec, _OpenCv)
    return kind(path, codec, height, width, fps)


class _OpenCv:
    """What the OpenCV wheels can write. It reports no failure after the first: count the frames of the file."""

    def __init__(self, path: Path, codec: str, height: int, width: int, fps: float) -> None:
        fourcc, size = cv2.VideoWriter_fourcc(*_FOURCC[codec]), (width + width % 2, height + height % 2)
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, size)
        if not self._writer.isOpened():  # it would ignore all frames
            raise _cannot_open(path, codec, "a writer that did not open")

    def add(self, picture: np.ndarray, seconds: float) -> None:
        self._writer.write(cv2.cvtColor(_even(picture), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()


class _H264:
    """H.264 through PyAV, in the colours and layout that browsers play."""

    def __init__(self, path: Path, codec: str, height: int, width: int, fps: float) -> None:
        rate = Fraction(fps).limit_denominator(1001)
        self._tick = 1 / (rate * _TICKS)
        try:
            options = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}
            self._file = av.open(str(path), "w", container_options=options)
            self._stream = self._file.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
            self._stream.height, self._stream.width = height + height % 2, width + width % 2
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.time_base = self._tick
            # Said, because players guess otherwise by the size of the picture.
            context.colorspace = av.video.reformatter.Colorspace.ITU601
            context.color_range = av.video.reformatter.ColorRange.MPEG
        except av.FFmpegError as error:
            raise _cannot_open(path, codec, error) from error

    def add(self, picture: np.ndarray, seconds: float) -> None:
        frame = av.VideoFrame.from_ndarray(_even(picture), "rgb24")
        frame.pts, frame.time_base = round(seconds / self._tick), self._tick
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        try:
            self._file.mux(self._stream.encode(None))
        finally:
            self._file.close()


class _Gif:
    """An endless GIF with a palette for each frame.

    Frames are written as they come. Pillow's own ``save`` holds all of them, and merges those that are equal.
    """

    def __init__(self, path: Path, codec: str, height: int, width: int, fps: float) -> None:
        self._fps = fps
        self._waiting: tuple[np.ndarray, float] | None = None  # until it is known how long it is shown
        self._shown = 0  # hundredths of a second
        self._file = path.open("wb")
        size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
        self._file.write(b"GIF89a" + size + b"\x70\0\0" + b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")

    def add(self, picture: np.ndarray, seconds: float) -> None:
        if self._waiting is not None:
            self._write(self._waiting[0], seconds)
        self._waiting = picture, seconds

    def close(self) -> None:
        with self._file:
            if self._waiting is not None:
                self._write(self._waiting[0], self._waiting[1] + 1 / self._fps)
            self._file.write(b";")

    def _write(self, picture: np.ndarray, until: float) -> None:
        lasts = max(_SHORTEST, round(until * 100) - self._shown)
        self._shown += lasts
        # As near to the colours as Pillow's default method, in a fortieth of its time. Dithering costs twice the bytes.
        image = Image.fromarray(picture).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        self._file.writelines(GifImagePlugin.getdata(image, duration=10 * lasts, include_color_table=True))


def _even(picture: np.ndarray) -> np.ndarray:
    """With a copy of the last row and column if their numbers are odd: the codecs would cut these off."""
    height, width = picture.shape[:2]
    if height % 2 == width % 2 == 0:
        return np.ascontiguousarray(picture)
    return cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def _cannot_open(path: Path, codec: str, cause: object) -> OSError:
    return OSError(file_problem(path, f"a video that can be written as {codec}", cause))
