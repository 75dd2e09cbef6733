"""Curves from logs that are written here line by line."""

import json
import math

import cv2
import matplotlib.axes
import numpy as np
import pytest

from cityseg_ext.apis.curves import plot_curves, running_mean
from cityseg_ext.apis.run_log import read_run, run_names

EPOCH = 10  # steps


def lines_of(epochs, start=0, by_step=True, score=0.01):
    """Lines as mmengine writes them: two training lines an epoch, then a validation."""
    for epoch in range(start, epochs):
        for step in (epoch * EPOCH + 5, (epoch + 1) * EPOCH):
            yield {
                "lr": 0.1,
                "decode.loss_ce": 1 / step,
                "decode.acc_seg": 50.0,
                "epoch": epoch + 1,
                "iter": step,
                "step": step,
            }
        scores = {"mDice": score * (epoch + 1), "mIoU": 0.1, "aAcc": 0.5, "val/loss": 2.0, "Dice/road": 0.7}
        yield scores | {"step": (epoch + 1) * (EPOCH if by_step else 1)}


def write(folder, lines):
    file = folder / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def positions(log, name, by="step"):
    return [row[by] for row in log.training + log.validation if name in row]


@pytest.fixture
def drawn(monkeypatch):
    """Title of each plot -> (x, y) of its lines, as matplotlib was given them."""
    lines = []
    original = matplotlib.axes.Axes.plot

    def plot(axis, *args, **kwargs):
        lines.append((axis, args))
        return original(axis, *args, **kwargs)

    monkeypatch.setattr(matplotlib.axes.Axes, "plot", plot)

    def read():
        found = {}
        for axis, args in lines:
            found.setdefault(axis.get_title(), []).append([np.asarray(part) for part in args[:2]])
        return found

    return read


@pytest.mark.parametrize("by_step", [True, False], ids=["validation by step", "validation by epoch"])
def test_training_and_validation_share_one_axis(tmp_path, by_step):
    log = read_run(write(tmp_path / "run", lines_of(3, by_step=by_step)))
    assert positions(log, "decode.loss_ce") == [5, 10, 15, 20, 25, 30]
    assert positions(log, "mDice") == [10, 20, 30]
    assert positions(log, "decode.loss_ce", "epoch") == [0.5, 1, 1.5, 2, 2.5, 3]
    assert positions(log, "mDice", "epoch") == [1, 2, 3]
    assert log.notices == []


def test_the_newest_run_is_read(tmp_path):
    write(tmp_path / "20260101_000000", lines_of(5))
    write(tmp_path / "20260102_000000", lines_of(2))
    assert positions(read_run(tmp_path), "mDice") == [10, 20]
    assert positions(read_run(tmp_path / "20260101_000000"), "mDice") == [10, 20, 30, 40, 50]
    assert positions(read_run(tmp_path / "20260101_000000" / "vis_data"), "mDice") == [10, 20, 30, 40, 50]


def test_resumed_runs_are_joined(tmp_path):
    write(tmp_path / "20260101_000000", lines_of(9))  # another run, before
    killed = [*lines_of(4, score=0.01), *list(lines_of(5, start=4))[:1]]  # killed in the fifth epoch
    write(tmp_path / "20260102_000000", killed)
    write(tmp_path / "20260103_000000", lines_of(6, start=4, score=0.02))
    write(tmp_path / "20260104_000000", lines_of(8, start=5, score=0.03))  # resumed once more, from an older checkpoint
    log = read_run(tmp_path)
    assert positions(log, "decode.loss_ce") == list(range(5, 81, 5))
    assert [row["mDice"] for row in log.validation] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.1, 0.18, 0.21, 0.24])


def test_resumed_runs_that_count_no_epochs_are_joined(tmp_path):
    def by_iterations(first, last):
        return [{"loss": 1.0, "iter": step, "step": step} for step in range(first, last, 50)]

    write(tmp_path / "20260101_000000", by_iterations(50, 501))
    write(tmp_path / "20260102_000000", by_iterations(350, 801))
    log = read_run(tmp_path)
    assert positions(log, "loss") == list(range(50, 801, 50)) and not log.counts_epochs


def test_a_line_that_was_cut_off_is_told(tmp_path):
    file = write(tmp_path / "run", lines_of(2))
    with file.open("a") as stream:
        stream.write('{"lr": 0.1, "decode.lo')
    log = read_run(file)
    assert positions(log, "mDice") == [10, 20] and positions(log, "lr") == [5, 10, 15, 20]
    (notice,) = log.notices
    assert str(file) in notice and "last line is cut off" in notice
    assert plot_curves([file], tmp_path / "a.png").notices == [notice]


def test_a_run_that_logged_nothing_is_told(tmp_path):
    write(tmp_path / "20260101_000000", lines_of(2))
    empty = write(tmp_path / "20260102_000000", [])
    log = read_run(tmp_path)
    assert positions(log, "mDice") == [10, 20] and str(empty) in log.notices[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "run.json' to be a log with one JSON object a line, but got no values"),
        (b'{"lr": 1}\n{"lr"\n{"lr": 1}\n', "something else in line 2"),
        (b"[1, 2]\n", "something else in line 1"),
        (b"\x89PNG\r\n\xff", "bytes that are no text"),
        (b'{"memory": 5, "iter": 1}\n', "`runs` to be logs with losses, scores or learning rates"),
    ],
)
def test_files_that_are_no_logs(tmp_path, content, message):
    file = tmp_path / "run.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        plot_curves([file], tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_runs_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="`run` to be an existing work dir or log file, but got '.*nowhere'"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="a work dir with logs"):
        read_run(tmp_path)


def test_scores_in_per_cent_become_fractions(tmp_path):
    lines = [
        {"loss": 1.0, "decode.acc_seg": 80.0, "iter": 50, "step": 50},
        {"aAcc": 90.0, "mIoU": 0.5, "mAcc": 60.0, "val/loss": 1.5, "step": 50},
    ]
    log = read_run(write(tmp_path, lines))
    (row,) = log.validation
    assert (row["aAcc"], row["mIoU"], row["mAcc"], row["val/loss"]) == (0.9, 0.005, 0.6, 1.5)
    assert log.training[0]["decode.acc_seg"] == 0.8 and log.training[0]["loss"] == 1.0


def test_every_curve_is_drawn_with_its_values(tmp_path, drawn):
    lines = list(lines_of(3))
    lines[1]["decode.loss_ce"], lines[5]["val/loss"] = math.nan, math.inf
    lines[3]["decode.loss_dice"] = 1.0  # a second loss of the head: the sum is drawn
    write(tmp_path / "a", lines)
    write(tmp_path / "b", lines_of(2))
    plot_curves([tmp_path / "a", tmp_path / "b"], tmp_path / "a.png", by="epoch")
    curves = drawn()
    training, validation, _, _ = curves["Loss of the decode head"]
    np.testing.assert_allclose(training[0], [0.5, 1, 1.5, 2, 2.5, 3])
    np.testing.assert_allclose(training[1], [1 / 5, np.nan, 1 + 1 / 15, 1 / 20, 1 / 25, 1 / 30])
    np.testing.assert_allclose(validation, [[1, 2, 3], [2, np.nan, 2]])
    for title, name in (("Mean Dice, validation", "mDice"), ("Mean IoU, validation", "mIoU")):
        expected = [line[name] for line in lines if name in line]
        np.testing.assert_allclose(curves[title][0], [[1, 2, 3], expected])
        assert len(curves[title]) == 2
    np.testing.assert_allclose(curves["Pixel accuracy"][1], [[1, 2, 3], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(curves["Learning rate"][1][0], [0.5, 1, 1.5, 2])
    np.testing.assert_allclose(curves["Dice of each class, last validation"][1], [[0.7], [0]])


def test_pictures_of_one_and_of_many_runs(tmp_path):
    for index in range(12):
        write(tmp_path / "work dirs" / f"_$x_{index} é", lines_of(60))
    runs = sorted((tmp_path / "work dirs").iterdir())
    for count in (1, 12):
        result = plot_curves(runs[:count], tmp_path / "a folder" / "curves.PNG")
        picture = cv2.imread(str(result.picture))
        assert picture.shape[1] > 1000 and (picture < 200).any()
    assert plot_curves(runs[:2], tmp_path / "curves.pdf").picture.read_bytes().startswith(b"%PDF")
    assert {path.name for path in tmp_path.iterdir()} == {"work dirs", "a folder", "curves.pdf"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(picture="a.docx"), "ending of the picture` to be one of .*'docx'"),
        (dict(names=["a", "b"]), "`names` to be 1, one a run, but got 2"),
        (dict(by="time"), "`by` to be one of"),
        (dict(by="epoch"), r"`by` to be 'step' for runs that count no epochs, but got 'epoch' and \['run'\]"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, options, message):
    run = write(tmp_path / "run", [{"loss": 1.0, "lr": 0.1, "iter": 1, "step": 1}])
    options = dict(picture="a.png") | options
    picture = tmp_path / options.pop("picture")
    with pytest.raises(ValueError, match=message):
        plot_curves([run], picture, **options)
    assert not picture.exists()


def test_a_picture_that_cannot_be_written(tmp_path):
    run = write(tmp_path / "run", lines_of(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Expected file '.*file/a.png' to be a file that can be written"):
        plot_curves([run], tmp_path / "file" / "a.png")


def test_names_tell_runs_apart(tmp_path):
    assert run_names([tmp_path / "x" / "unet", tmp_path / "y" / "unet"]) == ["x/unet", "y/unet"]
    times = [tmp_path / "unet" / time for time in ("20260101_000000", "20260102_000000")]
    assert run_names(times) == ["unet/20260101_000000", "unet/20260102_000000"]
    with pytest.raises(ValueError, match="Give each run once"):
        run_names([times[0], times[0] / "vis_data" / "scalars.json"])


@pytest.mark.parametrize("window", [1, 2, 3, 5, 20])
def test_the_running_mean_is_the_mean_of_the_neighbours(window):
    values = np.random.default_rng(0).normal(size=12)
    values[[2, 3, 7]] = np.nan
    expected = [
        np.nanmean(values[max(0, i - window // 2) : i + (window - 1) // 2 + 1]) if np.isfinite(value) else np.nan
        for i, value in enumerate(values)
    ]
    np.testing.assert_allclose(running_mean(values, window), expected)
