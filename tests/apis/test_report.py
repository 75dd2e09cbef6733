"""Records of test runs, and the pages made of them."""

import base64
import json
import os
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from browser import BROWSERS, find_browser

from cityseg_ext.apis.provenance import provenance
from cityseg_ext.apis.report_html import write_report
from cityseg_ext.apis.report_record import FOLDER, RECORD, make_record, read_record, write_record
from cityseg_ext.functional.boundary_scores import boundary_counts, boundary_scores
from cityseg_ext.functional.calibration import calibration_counts, calibration_scores
from cityseg_ext.functional.confusion import confusion_counts, mean_present, segmentation_scores
from cityseg_ext.hooks.report import WIDTHS, Extreme, ReportCounts

HOSTILE = "<script>alert('x')</script> & \"$q$\" 日本 é"
CLASSES = ["road", f"pole {HOSTILE}", "absent"]
META = dict(classes=CLASSES, palette=[[1, 2, 3], [40, 50, 60], [70, 80, 90]])
ORIGIN = dict(name="run", config=f"{HOSTILE}.py", config_text=f"a = '{HOSTILE}'", commit=None, versions=dict(torch="2"))


def images(seed=0):
    """Maps of three images: prediction, truth, confidence. The last has no label."""
    rng = np.random.default_rng(seed)
    for index in range(3):
        truth = rng.integers(0, 2, (10, 3)).astype(np.uint8).repeat(6, 1)
        pred = np.where(rng.random(truth.shape) < 0.2 * (index + 1), 1 - truth, truth).astype(np.uint8)
        if index == 2:
            truth[:] = 255
        yield f"{HOSTILE}/{index}.png", pred, truth, rng.random(truth.shape)


def hook(seed=0):
    counted = {
        name: ReportCounts(
            confusion_counts(pred, truth, 3),
            tuple(boundary_counts(pred, truth, 3, width, width) for width in WIDTHS),
            calibration_counts(sure, pred, truth),
        )
        for name, pred, truth, sure in images(seed)
    }
    order = sorted(Extreme(counts.mean_dice, name) for name, counts in counted.items() if counts.confusion.any())
    panels = {image.name: np.full((20, 80, 3), 90, np.uint8) for image in order}
    return SimpleNamespace(images=counted, best=order[1:], worst=order[:1], panels=panels)


def work_of_a_test(folder, seed=0, **metrics):
    """A work dir with a record."""
    run = hook(seed)
    write_record(make_record(run, metrics, META, ORIGIN), run.panels, folder / FOLDER)
    return folder


def work_of_training(folder, loss=1.0):
    """A work dir with a log."""
    log = folder / "20260102_030405" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    rows = [{"decode.loss_x": loss / step, "lr": 0.1, "epoch": 1, "iter": step, "step": step} for step in (1, 2)]
    rows.append({"mDice": 0.25, "val/loss": loss, "Dice/road": 0.5, "step": 2})
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Page(HTMLParser):
    """What is in a page; complains about tags that are not closed in order."""

    VOID = {"meta", "img", "br", "link"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.text = [], set(), [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(written):
    text = written.page.read_text(encoding="utf-8")
    page = Page(text)
    assert page.sources and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not page.tags & {"script", "link", "iframe", "object"} and "url(" not in text and "@import" not in text
    assert "<script" not in text
    return page


def test_scores_of_a_record_are_those_of_the_functions(tmp_path):
    record = read_record(work_of_a_test(tmp_path, **{"val/loss": 0.5, "Dice/road": 0.1, "mAcc": 0.2}) / FOLDER / RECORD)
    maps = [(pred, truth, sure) for _, pred, truth, sure in images()]
    pred, truth, sure = (np.concatenate(parts) for parts in zip(*maps, strict=True))
    scores = segmentation_scores(confusion_counts(pred, truth, 3))
    assert record.scores["mDice"] == mean_present(scores.dice) and record.scores["val/loss"] == 0.5
    assert record.scores["ECE"] == pytest.approx(calibration_scores(calibration_counts(sure, pred, truth)).ece, 1e-12)
    assert [row["Dice"] for row in record.classes] == [*scores.dice[:2], None]
    assert not {"Dice/road", "mAcc"} & record.scores.keys()
    assert [row["width"] for row in record.boundary] == sorted(WIDTHS)
    single = [segmentation_scores(confusion_counts(*pair[:2], 3)) for pair in maps[:2]]
    assert [row["mDice"] for row in record.images] == [*(mean_present(one.dice) for one in single), None]
    assert [row["classes"] for row in record.images] == [2, 2, 0]
    borders = [boundary_counts(*pair[:2], 3, WIDTHS[-1]) for pair in maps]
    both, true, guess = (sum(getattr(one, f"band_{name}") for one in borders) for name in ("both", "true", "pred"))
    expected = both[:2] / (true + guess - both)[:2]
    assert record.boundary[-1]["BoundaryIoU"] == pytest.approx(expected.mean(), rel=1e-12)
    assert np.isnan(boundary_scores(borders[0]).iou[2])


def test_a_record_comes_back_as_it_was(tmp_path):
    run = hook()
    record = make_record(run, {"val/loss": float("nan"), "val/focal": float("inf")}, META, ORIGIN)
    path = write_record(record, run.panels, tmp_path / "a folder" / "é")
    assert read_record(path) == record and record.scores["val/loss"] is None is record.scores["val/focal"]
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    names = {row["panel"] for row in record.best + record.worst} | {RECORD}
    assert set(os.listdir(path.parent)) == names == {"best_1.png", "worst_1.png", RECORD}


@pytest.mark.parametrize("kind", ["one", "two", "no log", "no record", "record and log of different runs"])
def test_a_page_is_well_formed_self_contained_and_escapes_names(tmp_path, kind):
    first = tmp_path / HOSTILE.replace("/", "_")
    first.mkdir()
    second = tmp_path / "other"
    if kind != "no record":
        work_of_a_test(first)
    if kind != "no log":
        work_of_training(second if kind.startswith("record") else first)
    if kind == "two":
        work_of_training(work_of_a_test(second, seed=1), loss=float("nan"))
    runs = [first, second] if second.exists() else [first]
    written = write_report(runs, tmp_path / "out")
    page = page_of(written)
    assert first.name in page.text
    assert all(path.is_file() for path in written.pictures) and len(written.pictures) == len(page.sources)
    expected = {"one": 0, "two": 0, "no log": 1, "no record": 1}.get(kind, 2)
    assert len(written.notices) == expected and all(notice in page.text for notice in written.notices)
    if kind in ("one", "two"):
        assert CLASSES[1] in page.text and ORIGIN["config_text"] in page.text and f"{HOSTILE}/0.png" in page.text
        assert "–" in page.text and "nan" not in page.text
    if kind == "two":
        assert "Images that changed most" in page.text and "run2_worst_1.png" in os.listdir(tmp_path / "out")
    if kind == "no record":
        assert "tools/test.py CONFIG CHECKPOINT" in written.notices[0] and "25.00" in page.text


def test_places_and_names(tmp_path):
    first, second = work_of_a_test(tmp_path / "a"), work_of_a_test(tmp_path / "b c", seed=1)
    assert write_report([first]).page == first / "report" / "report.html"
    written = write_report([first, second], names=["before", "after"])
    assert written.page == first / "report_with_after" / "report.html"
    assert "before" in page_of(written).text


def test_mistakes_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty' to be a work dir with the log .* but got neither .*--report"):
        write_report([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="existing folder, but got '.*none'"):
        write_report([tmp_path / "none"])
    run = work_of_a_test(tmp_path / "run")
    with pytest.raises(ValueError, match="`work_dir` to be one or two, but got 3"):
        write_report([run] * 3)
    with pytest.raises(ValueError, match="different ones"):
        write_report([run] * 2)
    with pytest.raises(ValueError, match="`names` to be 1, one a run"):
        write_report([run], names=["a", "b"])
    (run / FOLDER / "worst_1.png").unlink()
    (notice,) = [notice for notice in write_report([run]).notices if "is gone" in notice]
    assert "worst_1.png" in notice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: "[1, 2", "no JSON"),
        (lambda values: [1], "another kind of file"),
        (lambda values: values | dict(version=99), "version 1, but got 99"),
        (lambda values: values | dict(scores=dict(mDice="<b>")), "scores that are no numbers"),
        (lambda values: values | dict(scores=dict(mDice=float("nan"))), "scores that are no numbers"),
        (lambda values: values | dict(classes=[dict(name="road", color="red")]), "no rows in `classes`"),
        (lambda values: values | dict(images=None), "no rows in `images`"),
        (lambda values: values | dict(confusion=[[1]]), "no `confusion` of the 3 classes"),
        (lambda values: values | dict(best=[dict(name="a", panel="../../secret.png")]), "not beside it"),
    ],
)
def test_damaged_records_are_refused(tmp_path, change, message):
    path = work_of_a_test(tmp_path) / FOLDER / RECORD
    changed = change(json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(ValueError, match=message) as caught:
        write_report([tmp_path])
    assert str(path) in str(caught.value)


def test_nothing_labelled(tmp_path):
    run = hook()
    run.images = {name: counts for name, counts in run.images.items() if not counts.confusion.any()}
    with pytest.raises(ValueError, match="at least one labelled pixel"):
        make_record(run, {}, META, ORIGIN)


def test_provenance_names_what_the_user_gave(tmp_path, monkeypatch):
    from conftest import ROOT

    from cityseg_ext.apis.config import load_config

    monkeypatch.chdir(ROOT)
    cfg = load_config("configs/unet_ce.py", data_root="data/x", work_dir="work_dirs/y")
    known = provenance(cfg, "best.pth", "python tools/test.py")
    assert known["config"] == "unet_ce.py" and known["data"]["root"] == "data/x" and known["name"] == "y"
    assert known["versions"].keys() >= {"torch", "mmengine", "mmcv", "mmseg", "cityseg_ext", "numpy", "OpenCV"}
    assert known["hardware"]["cores"] == os.cpu_count() and known["data"]["fingerprint"] is None
    assert str(ROOT) not in json.dumps(known)
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert provenance(cfg, "best.pth")["commit"] is None


@pytest.mark.parametrize(("width", "height"), [(360, 780), (1280, 900)])
def test_a_browser_shows_it_without_scrolling_sideways(tmp_path, width, height):
    browser = find_browser()
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    first, second = (
        work_of_training(work_of_a_test(tmp_path / name, seed)) for seed, name in enumerate(["a", f"b {'long' * 30}"])
    )
    text = write_report([first, second]).page.read_text()
    # The page itself allows no scripts; this copy measures, in a frame, since windows have a least width.
    allowed = text.replace("default-src 'none'", "default-src 'unsafe-inline'")
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    says = f"`${{{too_wide}}} ${{innerWidth}} ${{{broken}}}`"
    script = f"<script>addEventListener('load', () => parent.postMessage({says}, '*'))</script></body>"
    (tmp_path / "page.html").write_text(allowed.replace("</body>", script))
    (tmp_path / "frame.html").write_text(
        "<script>addEventListener('message', e => document.title = e.data)</script>"
        f"<iframe src='page.html' style='border: 0; width: {width}px; height: {height}px'></iframe>"
    )
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}")
    timing = ("--virtual-time-budget=10000", "--dump-dom")
    command = [browser, *options, *timing, (tmp_path / "frame.html").as_uri()]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = process.stdout.partition("<title>")[2].partition("</title>")[0]
    assert title == f"0 {width} 0", process.stderr[-500:]
    picture = tmp_path / "page.png"
    command = [browser, *options, f"--window-size={width},{height}", f"--screenshot={picture}"]
    subprocess.run(
        [*command, (first / f"report_with_{second.name.replace(' ', '_')}" / "report.html").as_uri()], timeout=120
    )
    assert picture.stat().st_size > 10_000


def test_a_report_shows_no_linked_file(tmp_path):
    """A work dir may come from somebody else, and the report of it be given to a third."""
    run = work_of_a_test(tmp_path / "run")
    (tmp_path / "secret").write_text("of mine")
    panel = run / FOLDER / "worst_1.png"
    panel.unlink()
    panel.symlink_to(tmp_path / "secret")
    written = write_report([run], tmp_path / "out")
    assert [notice for notice in written.notices if "is gone" in notice]
    assert all(b"of mine" not in path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert base64.b64encode(b"of mine") not in written.page.read_bytes()
