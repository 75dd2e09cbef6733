"""Predictions for a video: frames are read, predicted, and drawn and written at the same time."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cityseg_ext.apis.overlap import WriteBehind, read_ahead
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.apis.video_codecs import BROWSERS_PLAY, GIF_FPS, KEEP_TIMES, NEED_EXTRA
from cityseg_ext.apis.video_source import Source, open_source
from cityseg_ext.apis.video_writer import VideoWriter
from cityseg_ext.checks import check_at_least, check_choice, expected, file_problem
from cityseg_ext.functional.overlay import overlay
from cityseg_ext.functional.panels import reduced

STYLES = ("overlay", "side_by_side")


@dataclass(frozen=True)
class VideoResult:
    """What :func:`infer_video` did.

    Attributes:
        path: the video.
        frames: how many frames it has.
        predicted: how many of them were predicted; the others show the prediction before them.
        seconds: how long it took; loading of the model not included.
        rate: frames per second of the video.
        codec: one of ``video_codecs.CODECS``.
        notes: sentences about what is not as one might expect.
    """

    path: Path
    frames: int
    predicted: int
    seconds: float
    rate: float
    codec: str
    notes: tuple[str, ...]

    @property
    def fps(self) -> float:
        """Frames done in a second."""
        return self.frames / self.seconds


def infer_video(
    predictor: Predictor,
    source: str | int | Path | Source,
    out: str | Path,
    *,
    style: str = "overlay",
    opacity: float = 0.5,
    every: int = 1,
    fps: float | None = None,
    max_frames: int | None = None,
    width: int | None = None,
    codec: str = "auto",
    overwrite: bool = False,
    batch_size: int = 4,
    progress: Callable[[int, int | None], None] | None = None,
) -> VideoResult:
    """Predict a video, and write one of as many frames at the same frame rate.

    An interrupt (Ctrl-C) ends a camera's video properly. That of another source is removed, as after an error.

    Args:
        predictor: the model.
        source: a video file, a folder or pattern of pictures, a camera's number, or an open source.
        out: the video to write; its suffix chooses the container.
        style: ``'overlay'``, class colours over the frame, or ``'side_by_side'``, the frame and that.
        opacity: of the class colours, 0 to 1.
        every: predict every so many frames, and show each prediction until the next one.
        fps: frames per second, in place of what the source states; pictures need it. An open source has its own.
        max_frames: stop after so many.
        width: of the video at most, in pixels; wider pictures are reduced after they are drawn.
        codec: see :func:`~cityseg_ext.apis.video_codecs.choose_codec`.
        overwrite: replace ``out`` if it exists; by default that is an error.
        batch_size: frames that the model sees together; as many wait before it, and as many behind it.
        progress: called with (frames done, frames that the source promises or None).

    Returns:
        What was written, and how fast.

    Raises:
        FileNotFoundError, ValueError: if an argument is wrong, or the source has no frame that can be read.
        OSError: if the video cannot be written.
    """
    check_choice("style", style, STYLES)
    if not 0 <= opacity <= 1:
        raise ValueError(expected("opacity", "from 0 to 1", opacity))
    for name, value in (("every", every), ("max_frames", max_frames), ("width", width), ("batch_size", batch_size)):
        if value is not None:
            check_at_least(name, value, 1)
    if isinstance(source, (str, int, Path)):
        source = open_source(source, fps)
    if os.path.exists(out) and os.path.exists(source.name) and os.path.samefile(out, source.name):
        raise ValueError(expected("out", "another file than the input", repr(str(out))))
    total = min(filter(None, (source.promised, max_frames)), default=None)
    begin = time.perf_counter()
    with VideoWriter(out, source.fps, codec, overwrite) as writer:

        def write(image: np.ndarray, class_map: np.ndarray, seconds: float) -> None:
            picture = overlay(image, class_map, predictor.palette, opacity)
            if style == "side_by_side":
                picture = np.concatenate([image, picture], axis=1)
            writer.add(picture if width is None else reduced(picture, width), seconds)

        times = _predict(predictor, source, write, every, max_frames, batch_size, total, progress)
        if not writer.frames:
            raise ValueError(file_problem(source.name, "a video with frames that can be decoded", "none"))
    notes = _notes(source, writer, times[: writer.frames], total)
    predicted = -(-writer.frames // every)
    return VideoResult(
        writer.path, writer.frames, predicted, time.perf_counter() - begin, source.fps, writer.codec, notes
    )


def _predict(
    predictor: Predictor,
    source: Source,
    write: Callable[[np.ndarray, np.ndarray, float], None],
    every: int,
    max_frames: int | None,
    batch_size: int,
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> list[float]:
    """Predict all frames and have them written; the time of each, in seconds."""
    times: list[float] = []
    class_map = None
    with WriteBehind(write, batch_size) as write_behind:
        try:
            with closing(read_ahead(itertools.islice(source, max_frames), batch_size)) as frames:
                while batch := list(itertools.islice(frames, batch_size)):
                    start = len(times)
                    due = [frame.image for index, frame in enumerate(batch, start) if index % every == 0]
                    found = iter(predictor.predict(due))
                    for index, frame in enumerate(batch, start):
                        class_map = next(found).class_map if index % every == 0 else class_map
                        times.append(frame.seconds)
                        write_behind(frame.image, class_map, frame.seconds)
                    if progress is not None:
                        progress(len(times), total)
        except KeyboardInterrupt:
            if not source.live:
                raise
    return times


def _notes(source: Source, writer: VideoWriter, times: list[float], total: int | None) -> tuple[str, ...]:
    """What is not as one might expect of this video."""
    notes = []
    frames, rate, codec = len(times), source.fps, writer.codec
    if source.promised is not None and max(frames, round(times[-1] * rate) + 1) < total:
        stated = f"its header states {source.promised} frames, but {frames} could be read"
        notes.append(f"{source.name}: {stated}; all of them were written.")
    off = max(abs(seconds - index / rate) for index, seconds in enumerate(times))
    if off * rate > 1:
        how = (
            "the video keeps these times"
            if codec in KEEP_TIMES
            else f"{codec} shows them evenly, up to {off:.1f} s off"
        )
        notes.append(f"{source.name}: frames come at uneven times, or some are missing; {how}.")
    height, width = writer.size
    if codec != "gif" and (height % 2 or width % 2):
        notes.append(f"The last row or column is doubled: {codec} needs even sides, not {width}x{height}.")
    if codec == "gif" and rate > GIF_FPS:
        notes.append(f"GIF shows at most {GIF_FPS} frames in a second: this one plays slower than its {rate:g}.")
    if codec not in BROWSERS_PLAY:
        notes.append(f"Browsers do not play {codec}: write .webm, or H.264 as .mp4. {NEED_EXTRA}")
    return tuple(notes)
