"""Writing a video: whole, counted, and under its name only then."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from PIL import Image

from cityseg_ext.apis.video_codecs import Encoder, choose_codec, open_encoder
from cityseg_ext.checks import expected, file_problem
from cityseg_ext.whole_file import check_writable, part_name


class VideoWriter:
    """Writes a video, in a ``with`` block.

    It is written under another name beside its own. When the block ends, it is read again; if all frames are there,
    it gets its name, else it is removed, as it is when the block is left with an error.

    Args:
        path: the file; its suffix chooses the container.
        fps: frames per second.
        codec: see :func:`~cityseg_ext.apis.video_codecs.choose_codec`.
        overwrite: whether the file may exist; it is replaced when the new one is whole.

    Attributes:
        path: the file.
        codec: the codec that was chosen.
        frames: how many frames were written.
        size: height and width of the pictures; None before the first.

    Raises:
        ValueError: if the file exists, or suffix and codec do not go together.
        OSError: if it cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, codec: str = "auto", overwrite: bool = False) -> None:
        self.path = Path(path)
        self.codec = choose_codec(self.path.suffix.lower(), codec)
        if self.path.is_dir() or (self.path.exists() and not overwrite):
            cure = "Choose another name, or --overwrite a file."
            raise ValueError(file_problem(path, "a new file", "one that exists", cure))
        check_writable("out", str(self.path.parent))
        self.frames = 0
        self.size: tuple[int, int] | None = None
        self._fps = fps
        # With the same suffix, because encoders look at it.
        self._part = self.path.absolute().parent / f"{part_name()}{self.path.suffix.lower()}"
        self._encoder: Encoder | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Write the next picture.

        Args:
            picture: uint8 (H, W, 3), RGB, of the first one's size.
            seconds: when it is shown, later than the one before; codecs outside ``KEEP_TIMES`` take no notice.

        Raises:
            ValueError: if the size is another.
            OSError: if it cannot be written.
        """
        if self._encoder is None:
            self.size = picture.shape[:2]
            self._encoder = open_encoder(self._part, self.codec, *self.size, self._fps)
        elif picture.shape[:2] != self.size:
            rule = f"of the first one's size {self.size[1]}x{self.size[0]}"
            raise ValueError(expected(f"frame {self.frames}", rule, f"{picture.shape[1]}x{picture.shape[0]}"))
        self._encoder.add(picture, seconds)
        self.frames += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            if self._encoder is not None:
                with contextlib.suppress(Exception) if error else contextlib.nullcontext():  # the first error counts
                    self._encoder.close()
            if error is None and self._encoder is not None:
                self._check()
                os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def _check(self) -> None:
        found = count_frames(self._part)
        if found != self.frames:
            rule = f"a video of {self.frames} frames after it was written"
            raise OSError(file_problem(self.path, rule, f"{found}", "Is the disk full? Nothing was kept."))


def count_frames(path: str | Path) -> int:
    """How many frames of a video file can be decoded, whatever its header says.

    Args:
        path: the file.

    Returns:
        Their number; 0 if the file cannot be read.
    """
    if Path(path).suffix.lower() == ".gif":
        try:
            with Image.open(path) as image:
                return image.n_frames
        except OSError:  # said as 0
            return 0
    capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG)
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count
