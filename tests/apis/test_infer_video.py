"""Videos: what goes in comes out, in the right colours, at the right times, whole or not at all."""

import struct
import threading
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from cityseg_ext.apis import video_codecs, video_writer
from cityseg_ext.apis.infer_video import infer_video
from cityseg_ext.apis.predictor import Prediction, Predictor
from cityseg_ext.apis.video_codecs import CODECS, CONTAINERS, KEEP_TIMES, choose_codec
from cityseg_ext.apis.video_source import Frame, open_source
from cityseg_ext.apis.video_writer import VideoWriter, count_frames

RED, BLUE = (255, 0, 0), (0, 0, 255)
FILES = [(suffix, codec) for suffix, codecs in CONTAINERS.items() for codec in codecs]


class Counter:
    """Predicts class 0 and remembers what it was shown."""

    palette = ((0, 255, 0),)

    def __init__(self, fail_at=None, error=None):
        self.seen, self.fail_at, self.error = [], fail_at, error

    def predict(self, images):
        for image in images:
            if len(self.seen) == self.fail_at:
                raise self.error
            self.seen.append(image)
        return [Prediction(np.zeros(image.shape[:2], np.uint8)) for image in images]


def picture(step, height=48, width=64):
    """Red, with a blue right half, and a white bar whose height tells the step."""
    image = np.full((height, width, 3), RED, np.uint8)
    image[:, width // 2 :] = BLUE
    image[height - 2 * step - 2 :, :8] = 255
    return image


def step_of(image):
    """The step that a picture shows."""
    return round(((image[:, 3].min(axis=1) > 128).sum() - 2) / 2)


def write_clip(path, count=10, fps=10.0, fourcc="MJPG", **size):
    first = picture(0, **size)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), fps, first.shape[1::-1])
    assert writer.isOpened()
    for step in range(count):
        writer.write(np.ascontiguousarray(picture(step, **size)[..., ::-1]))
    writer.release()
    return path


def read_clip(path):
    """Pictures and times as a plain loop over OpenCV has them."""
    capture, pictures, times = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), [], []
    while True:
        there, image = capture.read()
        if not there:
            return pictures, times, capture.get(cv2.CAP_PROP_FPS)
        pictures.append(image[..., ::-1])
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)


def pictures_in(data):
    """Where the pictures of an AVI file of ten begin."""
    place = data.find(b"movi")
    return [place := data.find(b"00dc", place + 1) for _ in range(10)]


def need(codec):
    if codec == "h264":
        pytest.importorskip("av")


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "a drive, ü.avi")


@pytest.fixture(autouse=True)
def nothing_left(tmp_path):
    """After each test: no temporary file, and no thread."""
    before = threading.active_count()
    yield
    assert not list(tmp_path.rglob("*cityseg-part*"))
    assert threading.active_count() == before


@pytest.mark.parametrize(("suffix", "codec"), FILES)
def test_frames_colours_and_rate_are_kept(clip, tmp_path, suffix, codec):
    need(codec)
    out, predictor = tmp_path / "new" / f"out{suffix}", Counter()
    result = infer_video(predictor, clip, out, codec=codec, opacity=0)
    pictures, times, fps = read_clip(out)
    assert result.frames == result.predicted == len(pictures) == 10 and result.codec == codec
    assert fps == pytest.approx(10, rel=1e-3) and result.rate == 10 and result.fps > 0
    np.testing.assert_allclose(times, np.arange(10) / 10, atol=1e-3)
    assert [step_of(image) for image in pictures] == [step_of(image) for image in predictor.seen] == list(range(10))
    for image in (*predictor.seen, *pictures):
        assert image.shape == (48, 64, 3)
        np.testing.assert_allclose(image[4, 12], RED, atol=12)
        np.testing.assert_allclose(image[4, 52], BLUE, atol=12)
    browsers = [note for note in result.notes if note.startswith("Browsers do not play")]
    assert len(browsers) == len(result.notes) == (codec not in ("h264", "vp9", "gif"))


def test_side_by_side_shows_the_frame_and_the_class_colours(clip, tmp_path):
    infer_video(Counter(), clip, tmp_path / "out.avi", style="side_by_side", opacity=1)
    for image in read_clip(tmp_path / "out.avi")[0]:
        assert image.shape == (48, 128, 3)
        np.testing.assert_allclose(image[4, 12], RED, atol=12)
        np.testing.assert_allclose(image[4, 80], (0, 255, 0), atol=12)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_third_frame_is_predicted_and_its_map_kept(clip, tmp_path, batch_size):
    class Numbered(Counter):
        palette = tuple((40 * step, 0, 0) for step in range(4))

        def predict(self, images):
            maps = super().predict(images)
            first = len(self.seen) - len(images)
            return [Prediction(one.class_map + first + index) for index, one in enumerate(maps)]

    predictor = Numbered()
    result = infer_video(predictor, clip, tmp_path / "out.avi", every=3, opacity=1, batch_size=batch_size)
    assert (result.frames, result.predicted) == (10, 4)
    assert [step_of(image) for image in predictor.seen] == [0, 3, 6, 9]
    shown = [round(image[..., 0].mean() / 40) for image in read_clip(tmp_path / "out.avi")[0]]
    assert shown == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_a_model_predicts_a_video(tiny_model, clip, tmp_path):
    result = infer_video(Predictor(*tiny_model), clip, tmp_path / "out.webm", batch_size=2, max_frames=3)
    assert (result.frames, count_frames(result.path)) == (3, 3) and not result.notes


@pytest.mark.parametrize(("suffix", "codec"), FILES)
def test_odd_sides_lose_no_pixel(tmp_path, suffix, codec):
    need(codec)
    images = []
    for step in range(3):
        images.append(picture(step, 47, 63))
        images[-1][:, -1] = 0, 255, 0
    result = infer_video(Counter(), Clip(images), tmp_path / f"out{suffix}", codec=codec, opacity=0)
    pictures = read_clip(result.path)[0]
    assert pictures[0].shape == ((47, 63, 3) if codec == "gif" else (48, 64, 3))
    assert pictures[0][20, -1, 1] > 120 > pictures[0][20, -5, 1]
    assert any("needs even sides, not 63x47" in note for note in result.notes) == (codec != "gif")


@pytest.mark.parametrize("codec", CODECS)
def test_uneven_times(tmp_path, codec):
    need(codec)
    durations = [100, 100, 300, 100, 800, 100, 100, 60]
    frames = [Image.fromarray(picture(step)) for step in range(8)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=durations)
    suffix = next(suffix for suffix, codecs in CONTAINERS.items() if codec in codecs)
    result = infer_video(Counter(), tmp_path / "in.gif", tmp_path / f"out{suffix}", codec=codec)
    pictures, times, _ = read_clip(result.path)
    (note,) = [note for note in result.notes if "uneven times" in note]
    assert len(pictures) == result.frames == 8
    if codec in KEEP_TIMES:
        np.testing.assert_allclose(times, np.cumsum([0, *durations[:-1]]) / 1000, atol=0.002)
        assert "keeps these times" in note
    else:
        np.testing.assert_allclose(np.diff(times), 1 / result.rate, atol=0.002)
        assert f"{codec} shows them evenly" in note
    even = infer_video(Counter(), tmp_path / "in.gif", tmp_path / f"even{suffix}", codec=codec, fps=5)
    np.testing.assert_allclose(read_clip(even.path)[1], np.arange(8) / 5, atol=0.002)
    assert not any("uneven times" in note for note in even.notes)


def test_the_rotation_flag_is_obeyed(tmp_path):
    data = bytearray(write_clip(tmp_path / "in.mp4", fourcc="mp4v").read_bytes())
    matrix = data.find(b"tkhd") + 44
    assert struct.unpack(">9i", data[matrix : matrix + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 0x40000000)
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 0x40000000)
    (tmp_path / "in.mp4").write_bytes(data)
    predictor = Counter()
    infer_video(predictor, tmp_path / "in.mp4", tmp_path / "out.avi", opacity=0)
    for image in (*predictor.seen, *read_clip(tmp_path / "out.avi")[0]):  # turned clockwise: its left is on top
        assert image.shape == (64, 48, 3)
        np.testing.assert_allclose(image[20, 40], RED, atol=12)
        np.testing.assert_allclose(image[50, 40], BLUE, atol=12)


@pytest.mark.parametrize(("stated", "notes"), [(1000, 1), (3, 0), (0, 0), (-1, 0)])
def test_the_number_of_frames_in_the_header_may_be_wrong(clip, tmp_path, stated, notes):
    data = bytearray(clip.read_bytes())
    for name, offset in ((b"avih", 24), (b"strh", 40)):
        place = data.find(name) + offset
        assert data[place : place + 4] == struct.pack("<i", 10)
        data[place : place + 4] = struct.pack("<i", stated)
    clip.write_bytes(data)
    result = infer_video(Counter(), clip, tmp_path / "out.webm")
    assert result.frames == count_frames(result.path) == 10
    assert len(result.notes) == notes
    cut = infer_video(Counter(), clip, tmp_path / "cut.webm", max_frames=2)
    assert cut.frames == 2 and not cut.notes
    if notes:
        assert "its header states 1000 frames, but 10 could be read" in result.notes[0] and clip.name in result.notes[0]


def test_a_broken_tail_costs_the_tail_only(clip, tmp_path):
    data = clip.read_bytes()
    clip.write_bytes(data[: pictures_in(data)[6] + 12])
    result = infer_video(Counter(), clip, tmp_path / "out.webm")
    assert result.frames == count_frames(result.path) == 6
    (note,) = result.notes
    assert "its header states 10 frames, but 6 could be read" in note and clip.name in note


@pytest.mark.parametrize("suffix", [".webm", ".gif"])
def test_what_cannot_be_read_has_no_frames(tmp_path, suffix):
    """As after a full disk: the writer then says that, and not what a decoder says."""
    path = tmp_path / f"empty{suffix}"
    path.write_bytes(b"")
    assert count_frames(path) == 0


@pytest.mark.parametrize("suffix", [".webm", ".gif"])
def test_frames_that_are_missing_in_the_middle(clip, tmp_path, suffix):
    data = bytearray(clip.read_bytes())
    for place in pictures_in(data)[4:6]:
        size = struct.unpack("<I", data[place + 4 : place + 8])[0]
        data[place + 8 : place + 8 + size] = b"\x55" * size
    clip.write_bytes(data)
    predictor = Counter()
    result = infer_video(predictor, clip, tmp_path / f"out{suffix}")
    assert result.frames == count_frames(result.path) == 8
    assert [step_of(image) for image in predictor.seen] == [0, 1, 2, 3, 6, 7, 8, 9]
    (note,) = result.notes
    assert "or some are missing" in note and ("keeps these times" in note) == (suffix == ".gif")


def nothing(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("no video")


def header_only(path):
    write_clip(path, count=0)


@pytest.mark.parametrize("damage", [nothing, text, header_only])
def test_what_cannot_be_read_leaves_nothing(tmp_path, damage):
    damage(tmp_path / "in.avi")
    with pytest.raises(ValueError, match="Expected file '.*in.avi' to be a video"):
        infer_video(Counter(), tmp_path / "in.avi", tmp_path / "out.avi")
    assert not (tmp_path / "out.avi").exists()
    with pytest.raises(FileNotFoundError, match="to be an existing video, but got no file"):
        infer_video(Counter(), tmp_path / "none.avi", tmp_path / "out.avi")


def test_a_writer_that_does_not_open_is_an_error(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(video_codecs._FOURCC, "mp4v", "avc1")  # the wheels have no encoder for it, and say nothing
    with pytest.raises(OSError, match="to be a video that can be written as mp4v, but got a writer that did not open"):
        infer_video(Counter(), clip, tmp_path / "out.mp4", codec="mp4v")
    assert [path.name for path in tmp_path.iterdir()] == [clip.name]


def test_a_writer_that_loses_frames_is_an_error(clip, tmp_path, monkeypatch):
    add = video_codecs._OpenCv.add
    lost = iter([False] * 9 + [True])
    monkeypatch.setattr(video_codecs._OpenCv, "add", lambda *job: next(lost) or add(*job))
    with pytest.raises(OSError, match="a video of 10 frames after it was written, but got 9"):
        infer_video(Counter(), clip, tmp_path / "out.avi")
    assert [path.name for path in tmp_path.iterdir()] == [clip.name]


class Clip:
    """A source of pictures; `error` is raised after them."""

    name, fps, promised = "clip", 10.0, None

    def __init__(self, images, error=None, live=False):
        self.images, self.error, self.live, self.read = images, error, live, 0

    def __iter__(self):
        for index, image in enumerate(self.images):
            self.read += 1
            yield Frame(image, index / self.fps)
        if self.error:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_errors_end_all_threads_and_leave_nothing(tmp_path, monkeypatch, error):
    images, out = [picture(step) for step in range(12)], tmp_path / "out.avi"
    with pytest.raises(type(error)):
        infer_video(Counter(), Clip(images, error), out)
    with pytest.raises(type(error)):
        infer_video(Counter(fail_at=5, error=error), Clip(images), out)
    with pytest.raises(ValueError, match="`frame 7` to be of the first one's size 64x48, but got 32x48"):
        infer_video(Counter(), Clip([*images[:7], picture(0, 48, 32)]), out)
    monkeypatch.setattr(VideoWriter, "add", lambda *job: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        infer_video(Counter(), Clip(images), out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("slow", ["model", "writer"])
def test_few_frames_wait(tmp_path, monkeypatch, slow):
    source, most = Clip([picture(0)] * 40), []
    add = VideoWriter.add

    def measured(writer, *job):
        time.sleep(0.005 * (slow == "writer"))
        add(writer, *job)
        most.append(source.read - writer.frames)

    class Slow(Counter):
        def predict(self, images):
            time.sleep(0.005 * (slow == "model"))
            return super().predict(images)

    monkeypatch.setattr(VideoWriter, "add", measured)
    assert infer_video(Slow(), source, tmp_path / "out.avi").frames == 40
    assert max(most) <= 14  # four ahead, four behind, four in work, and one in each thread


def test_reading_predicting_and_writing_overlap(tmp_path, monkeypatch):
    count, add = 8, VideoWriter.add
    source, overlapped = Clip([picture(0)] * count), []

    def happens(condition):
        end = time.monotonic() + 10
        while not condition() and time.monotonic() < end:
            time.sleep(0.001)
        overlapped.append(condition())

    class Waiting(Counter):
        """Ends a prediction only when the frame after it has been read."""

        def predict(self, images):
            maps = super().predict(images)
            happens(lambda: source.read > min(len(self.seen), count - 1))
            return maps

    def add_late(writer, *job):
        """Writes a frame only when the prediction of the one after it has begun."""
        happens(lambda: len(predictor.seen) > min(writer.frames + 1, count - 1))
        add(writer, *job)

    predictor = Waiting()
    monkeypatch.setattr(VideoWriter, "add", add_late)
    infer_video(predictor, source, tmp_path / "out.avi", batch_size=1)
    assert overlapped == [True] * 2 * count


class FakeCapture:
    """A camera that gives a picture whenever it is asked, and is unplugged after `count`."""

    fps, count = 30.0, 1000

    def __init__(self, index):
        self.index, self.released = index, False

    def isOpened(self):  # noqa: N802
        return self.index == 0 and not self.released

    def get(self, what):
        return {cv2.CAP_PROP_FPS: self.fps}.get(what, -1)

    def read(self):
        self.count -= 1
        return self.count >= 0, picture(0)[..., ::-1].copy()

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *how: real(*how) if isinstance(how[0], str) else FakeCapture(*how))


@pytest.mark.usefixtures("camera")
def test_cameras_end_after_max_frames_or_an_interrupt(tmp_path, monkeypatch):
    predictor = Counter()
    result = infer_video(predictor, "0", tmp_path / "out.avi", max_frames=5)
    assert result.frames == count_frames(result.path) == 5 and result.rate == 30
    np.testing.assert_allclose(predictor.seen[0][4, 12], RED)
    interrupted = infer_video(
        Counter(fail_at=6, error=KeyboardInterrupt()), 0, tmp_path / "stopped.gif", fps=20, batch_size=1
    )
    assert interrupted.frames == count_frames(interrupted.path) == 6 and interrupted.rate == 20
    with pytest.raises(ValueError, match="Expected file 'camera 0'.*"):
        infer_video(Counter(fail_at=0, error=KeyboardInterrupt()), 0, tmp_path / "none.avi")
    monkeypatch.setattr(FakeCapture, "count", 3)
    assert infer_video(Counter(), 0, tmp_path / "unplugged.webm", fps=30, max_frames=9).notes == ()
    with pytest.raises(ValueError, match="Expected `camera` to be the number of one that is connected"):
        open_source("1")
    monkeypatch.setattr(FakeCapture, "fps", 0.0)
    with pytest.raises(ValueError, match="states its frames per second, but got 0.0. Choose the frame rate: --fps 25"):
        open_source("0")


def test_a_folder_of_pictures_is_a_video(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="to be one with images"):
        open_source(folder, 5)
    for step in (10, 2, 9):
        Image.fromarray(picture(step)).save(folder / f"{step}.PNG")
    (folder / "notes.txt").write_text("not a picture")
    with pytest.raises(ValueError, match="Choose the frame rate: --fps 25"):
        infer_video(Counter(), folder, tmp_path / "out.gif")
    for source, steps in ((folder, [2, 9, 10]), (folder / "[0-9].*", [2, 9])):
        result = infer_video(Counter(), source, tmp_path / "out.gif", fps=5, opacity=0, overwrite=True)
        assert [step_of(image) for image in read_clip(result.path)[0]] == steps


def test_arguments_are_checked_before_anything_is_written(clip, tmp_path, monkeypatch):
    out, taken = tmp_path / "out.mp4", tmp_path / "folder.mp4"
    taken.mkdir()
    for arguments, message in (
        (dict(style="overlap"), "Did you mean 'overlay'"),
        (dict(opacity=2), "Expected `opacity` to be from 0 to 1"),
        (dict(every=0), "Expected `every` to be at least 1"),
        (dict(max_frames=0), "Expected `max_frames` to be at least 1"),
        (dict(fps=float("nan")), "Expected `fps` to be above 0"),
        (dict(codec="h265"), "Did you mean 'h264'"),
        (dict(codec="gif"), "one that .mp4 files hold"),
        (dict(out=tmp_path / "out.mp5"), "Did you mean '.mp4'"),
        (dict(width=0), "Expected `width` to be at least 1"),
        (dict(out=clip), "to be another file than the input"),
        (dict(out=taken), "to be a new file, but got one that exists"),
    ):
        with pytest.raises(ValueError, match=message):
            infer_video(Counter(), clip, **dict(out=out) | arguments)
    monkeypatch.setattr(video_codecs, "av", None)
    assert choose_codec(".mp4") == choose_codec(".mkv") == "mp4v"
    with pytest.raises(ValueError, match="Install the extra `video`"):
        infer_video(Counter(), clip, out, codec="h264")
    assert sorted(path.name for path in tmp_path.iterdir()) == [clip.name, taken.name]


def test_what_exists_is_replaced_when_asked_for_and_whole(clip, tmp_path):
    out = tmp_path / "out.gif"
    out.write_text("mine")
    with pytest.raises(ValueError, match="to be a new file, but got one that exists. Choose another name"):
        infer_video(Counter(), clip, out)
    with pytest.raises(RuntimeError):
        infer_video(Counter(fail_at=5, error=RuntimeError()), clip, out, overwrite=True)
    assert out.read_text() == "mine"
    infer_video(Counter(), clip, out, overwrite=True, width=32)
    assert count_frames(out) == 10 and read_clip(out)[0][0].shape == (24, 32, 3)


def test_h264_keeps_odd_rates_exactly(tmp_path):
    av = pytest.importorskip("av")
    source = Clip([picture(0)] * 7)
    source.fps = 24000 / 1001
    with av.open(str(infer_video(Counter(), source, tmp_path / "out.mp4").path)) as file:
        stream = file.streams.video[0]
        assert stream.average_rate == stream.base_rate == pytest.approx(24000 / 1001)
        assert stream.pix_fmt == "yuv420p" and stream.codec_context.name == "h264"


def test_equal_frames_of_a_gif_stay_frames(tmp_path):
    result = infer_video(Counter(), Clip([picture(0)] * 5), tmp_path / "out.gif")
    with Image.open(result.path) as image:
        assert image.n_frames == 5 and image.info["loop"] == 0
    fast = Clip([picture(0)] * 5)
    fast.fps = 60.0
    (note,) = infer_video(Counter(), fast, tmp_path / "fast.gif").notes
    assert note.startswith("GIF shows at most 50 frames in a second")
    assert video_writer.count_frames(tmp_path / "fast.gif") == 5
