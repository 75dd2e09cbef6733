"""What `infer.py` does with videos."""

import argparse
import os
from pathlib import Path

import _cli
import _prediction

# What OpenCV and its FFmpeg say about damaged files and missing cameras stands in our own messages, in plain words.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

OPTIONS = ("style", "every", "fps", "max_frames", "width", "codec")
"""Names of those that are set only if the user gave them."""


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Options for videos only."""
    videos = parser.add_argument_group(
        "videos", "as many frames as the input has, at its frame rate", argument_default=argparse.SUPPRESS
    )
    videos.add_argument(
        "--style", choices=["overlay", "side_by_side"], help="colours over the frame (default), or the frame and that"
    )
    videos.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="predict every Nth frame, and show its classes until the next one; no frame is left out (default: 1)",
    )
    videos.add_argument(
        "--fps", type=float, metavar="X", help="frames per second, in place of what the input states; images need it"
    )
    videos.add_argument("--max-frames", type=int, metavar="N", help="stop after so many (default: at the end)")
    videos.add_argument("--width", type=int, metavar="W", help="reduce a video that is wider (default: keep its size)")
    videos.add_argument(
        "--codec",
        metavar="NAME",
        help="h264 (needs the extra `video`), mp4v, vp9, xvid, mjpeg or gif (default: the best that --out may hold)",
    )


def video_to_write(args: argparse.Namespace) -> str | None:
    """The video that the arguments ask for: as --out, or into that folder; None if they mean images."""
    from cityseg_ext.apis.video_codecs import CONTAINERS
    from cityseg_ext.apis.video_source import VIDEO_SUFFIXES, is_video

    if Path(args.out).suffix.lower() in (*CONTAINERS, *VIDEO_SUFFIXES):
        return args.out
    if not is_video(args.input):
        return None
    stem = f"camera_{args.input}" if args.input.isdecimal() else Path(args.input).stem
    return str(Path(args.out, f"{stem}.mp4"))


def infer_video(args: argparse.Namespace, out: str) -> None:
    """Predict a video, and say what was written."""
    from cityseg_ext.apis.infer_video import infer_video

    predictor = _prediction.load_predictor(args)
    with _cli.progress_bar("predicting") as progress:
        result = infer_video(
            predictor,
            args.input,
            out,
            opacity=args.opacity,
            overwrite=args.overwrite,
            batch_size=args.batch_size,
            progress=progress,
            **{name: getattr(args, name) for name in OPTIONS if hasattr(args, name)},
        )
    for note in result.notes:
        _cli.say(f"Note: {note}")
    _cli.say(
        f"Predicted {result.predicted} of {result.frames} frames, {result.fps:.1f} frames/s. "
        f"Video ({result.codec}, {result.rate:.4g} frames/s): {result.path}"
    )
