"""The demo's page: what its server answers and refuses, and how it works in a real browser."""

import base64
import contextlib
import fnmatch
import http.client
import io
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from browser import BROWSERS, Browser, find_browser
from conftest import ROOT
from PIL import Image

from cityseg_ext.apis import demo_view
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.labels import CITYSCAPES_19

pytest.importorskip("starlette", reason="the extra demo is not installed")
pytest.importorskip("uvicorn", reason="the extra demo is not installed")

from cityseg_ext.apis import demo  # noqa: E402 - it needs the extra

MAX_BYTES = 2**17
PAGE = ROOT / "cityseg_ext" / "apis" / "demo_page"


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return Predictor(*tiny_model)


@contextlib.contextmanager
def serving(predictor, model="tiny", **options):
    """The address of a server in a thread of this process."""
    listener = demo.listen(port=0)
    server = demo._server(demo.make_app(predictor, model, "best.pth", **options))
    thread = threading.Thread(target=server.run, kwargs=dict(sockets=[listener]))
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def place(predictor):
    with serving(predictor, max_upload=MAX_BYTES / 2**20) as place:
        yield place


def ask(place, path, body=None, method=None, **headers):
    """Status, headers and body of an answer; JSON is read."""
    connection = http.client.HTTPConnection(*place, timeout=20)
    connection.request(method or "POST", path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, answer.headers, json.loads(data) if "json" in answer.headers["Content-Type"] else data


def encoded(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def photo(height=40, width=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def planes(answer):
    width, height = answer["shown"]
    for key in ("class_map", "confidence"):
        yield np.frombuffer(base64.b64decode(answer[key]), np.uint8).reshape(height, width)


def pixels_of(text):
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)


def test_an_answer_is_what_the_predictor_says(place, predictor):
    image = photo()
    (expected,) = predictor.predict([image], "confidence")
    status, _, answer = ask(place, "/predict?name=a%20b%2C%C3%BC.PNG", encoded(image))
    assert status == 200 and answer["name"] == "a b,ü.PNG"
    assert answer["size"] == answer["shown"] == [70, 40]
    class_map, confidence = planes(answer)
    assert (class_map == expected.class_map).mean() > 0.999
    np.testing.assert_allclose(confidence, 100 * expected.confidence, atol=0.51)
    np.testing.assert_array_equal(pixels_of(answer["class_map_png"]), class_map)
    assert pixels_of(answer["photo"]).shape == (40, 70, 3)
    assert [item["name"] for item in answer["classes"]] == list(CITYSCAPES_19.classes)
    assert [tuple(item["color"]) for item in answer["classes"]] == list(CITYSCAPES_19.palette)
    for index, item in enumerate(answer["classes"]):
        assert item["share"] == (class_map == index).mean()
    seconds = answer["seconds"]
    assert 0 < seconds["decode"] + seconds["predict"] <= seconds["total"]


def test_large_photographs_are_shown_smaller_and_saved_whole(predictor, monkeypatch):
    monkeypatch.setattr(demo_view, "SHOWN_PIXELS", 700)
    answer = demo_view.view_photo(predictor, encoded(photo()), "large.png")
    assert answer["size"] == [70, 40] and answer["shown"] == [35, 20]
    whole = pixels_of(answer["class_map_png"])
    class_map, _ = planes(answer)
    assert whole.shape == (40, 70) and class_map.shape == (20, 35)
    assert set(np.unique(class_map)) <= set(np.unique(whole))
    assert pixels_of(answer["photo"]).shape == (20, 35, 3)


def test_samples_are_streets_that_differ(place):
    status, _, first = ask(place, "/sample?number=1")
    assert status == 200 and first["size"] == [1024, 512] and first["name"] == "synthetic scene 1"
    assert list(first["seconds"]) == ["render", "predict", "total"]
    assert ask(place, "/sample?number=2")[2]["photo"] != first["photo"]
    for number in ("-1", "x", "1e3", "%C2%B2", "9" * 10):
        status, _, answer = ask(place, f"/sample?number={number}")
        assert status == 422 and "`number`" in answer["error"]


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "claims too much"])
def test_what_is_no_photograph_is_refused_in_a_sentence(place, kind):
    data = encoded(photo(), "JPEG" if kind == "truncated" else "PNG")
    data = {
        "text": b"not an image",
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "claims too much": data[:16] + (1 << 16).to_bytes(4, "big") + (1 << 12).to_bytes(4, "big") + data[24:],
    }[kind]
    status, _, answer = ask(place, "/predict?name=my%20street.jpg", data)
    assert status == 422 and answer.keys() == {"error"}
    assert re.match(
        r"Expected file 'my street.jpg' to be (a readable image|an image of at most \d+ pixels), but got",
        answer["error"],
    )
    assert "\n" not in answer["error"]


def test_uploads_are_limited_while_they_arrive(place):
    assert ask(place, "/predict", bytes(MAX_BYTES))[0] == 422  # no image, but not too large
    connection = socket.create_connection(place)
    connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (MAX_BYTES + 1))
    assert connection.recv(99).startswith(b"HTTP/1.1 413")  # before a byte of it was sent
    connection.close()
    connection = socket.create_connection(place)
    connection.settimeout(20)
    connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(MAX_BYTES // 2**14 + 1):  # an endless body, that does not say how long it is
        connection.sendall(b"4000\r\n" + bytes(2**14) + b"\r\n")
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    assert answer.status == 413 and "at most 0.125 MiB" in json.load(answer)["error"]
    connection.close()


def test_slow_and_broken_uploads_end(predictor):
    with serving(predictor, patience=0.2) as place:
        start = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nfew"
        connection = socket.create_connection(place)
        connection.sendall(start)
        assert connection.recv(99).startswith(b"HTTP/1.1 408")
        connection.close()
        connection = socket.create_connection(place)
        connection.sendall(start)
        connection.close()
        assert ask(place, "/", method="GET")[0] == 200


def test_only_the_page_and_its_files_are_served(place):
    for path, kind in {"/": "text/html", "/demo.css": "text/css", "/demo.js": "text/javascript"}.items():
        status, headers, data = ask(place, path, method="GET")
        assert status == 200 and headers["Content-Type"].startswith(kind) and data
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
    for path in ("/demo.py", "/index.html.j2", "/../demo.py", "/%2e%2e/demo.py", "//etc/passwd", "/demo.css/", "/docs"):
        assert ask(place, path, method="GET")[0] == 404, path
    for path, method in (("/predict", "GET"), ("/", "POST"), ("/sample", "PUT")):
        status, headers, answer = ask(place, path, method=method)
        assert status == 405 and answer["error"] and headers["Allow"] and "Content-Security-Policy" in headers


def test_pages_of_other_sites_get_nothing(place):
    own = f"127.0.0.1:{place[1]}"
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1"):
        assert ask(place, "/", method="GET", Host=host)[0] in (400, 421), host
    for host in (own, "localhost", "LOCALHOST:1", "[::1]:7860", "10.1.2.3", socket.gethostname()):
        assert ask(place, "/", method="GET", Host=host)[0] == 200, host
    for origin in ("https://evil.example", "null", f"http://{own}.evil.example", "http://127.0.0.1:1", "http://[", ""):
        assert ask(place, "/sample", Host=own, Origin=origin)[0] == 403, origin
    assert ask(place, "/sample", Host=own, Origin=f"http://{own}")[0] == 200


class Stub:
    """A predictor that waits, or fails."""

    classes, palette = ("<b>road</b>",), ((1, 2, 3),)

    def __init__(self):
        self.calls, self.go, self.error = [], threading.Event(), None

    def predict(self, images, keep):
        self.calls.append(len(images))
        self.go.wait(20)
        raise self.error


def test_one_photograph_at_a_time():
    stub = Stub()
    stub.error = ValueError("done")
    with serving(stub, patience=0.3) as place:
        answers = []
        first = threading.Thread(target=lambda: answers.append(ask(place, "/sample")))
        first.start()
        while not stub.calls:
            time.sleep(0.01)
        status, _, answer = ask(place, "/sample")
        assert status == 503 and "busy" in answer["error"] and stub.calls == [1]
        assert ask(place, "/", method="GET")[0] == 200  # the page itself never waits
        stub.go.set()
        first.join()
        assert answers[0][0] == 422 and answers[0][2] == {"error": "done"}
        assert ask(place, "/sample")[0] == 422 and stub.calls == [1, 1]


def test_a_failing_model_is_told_and_the_server_stays(caplog):
    stub = Stub()
    stub.error = RuntimeError("secret <path>")
    stub.go.set()
    with serving(stub, model="<script>alert(1)</script> \udce4") as place:
        for _ in range(2):
            status, _, answer = ask(place, "/sample")
            assert status == 500 and "RuntimeError" in answer["error"] and "secret" not in answer["error"]
        page = ask(place, "/", method="GET")[2].decode()
        assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; \\udce4" in page


def test_addresses():
    with demo.listen(port=0) as listener:
        port = listener.getsockname()[1]
        assert demo.address(listener) == (f"http://127.0.0.1:{port}/", True)
        with pytest.raises(OSError, match=f"but got 127.0.0.1:{port} .*in use.*--port 0 takes any"):
            demo.listen(port=port)
    for host, port in (("no such host", 1), ("127.0.0.1", 70_000), ("192.0.2.1", 0)):
        with pytest.raises(OSError, match=f"Expected `--host and --port` .* but got {host}:{port}"):
            demo.listen(host, port)

    class Elsewhere:
        def __init__(self, *name):
            self.getsockname = lambda: name

    assert demo.address(Elsewhere("0.0.0.0", 80)) == (f"http://{socket.gethostname()}:80/", False)
    assert demo.address(Elsewhere("::1", 80, 0, 0)) == ("http://[::1]:80/", True)
    assert demo.address(Elsewhere("10.0.0.1", 80)) == ("http://10.0.0.1:80/", False)


@pytest.mark.parametrize(("options", "name"), [(dict(max_upload=0), "max_upload"), (dict(patience=0), "patience")])
def test_limits_are_checked(predictor, options, name):
    with pytest.raises(ValueError, match=f"`{name}` to be at least"):
        demo.make_app(predictor, "tiny", "best.pth", **options)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    module = runpy.run_path(demo.__file__)
    for function, arguments in (("listen", ()), ("make_app", (None, "tiny", "best.pth"))):
        with pytest.raises(ImportError, match=re.escape("pip install 'cityseg_ext[demo]'")):
            module[function](*arguments)


def test_the_page_is_packaged():
    (line,) = re.findall(r"^cityseg_ext = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for path in PAGE.iterdir():
        name = path.relative_to(ROOT / "cityseg_ext").as_posix()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in json.loads(line)), name


# The upstream line of OpenMMLab warns of its own deprecated calls.
QUIET = {"PYTHONUNBUFFERED": "", "PYTHONWARNINGS": "ignore"}


def test_the_script_serves_until_ctrl_c(tiny_model):
    config, checkpoint = tiny_model
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), checkpoint, "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | QUIET
    )
    try:
        assert process.stdout.readline() == f"Config: {config}, found beside the checkpoint\n"
        last = process.stdout.readline()
        port = int(re.fullmatch(r"Open http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends\)\n", last)[1])
        status, _, page = ask(("127.0.0.1", port), "/", method="GET")
        assert status == 200 and b"<h1>tiny</h1>" in page and b"tiny.pth, 19 classes, computed on cpu" in page
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, out, errors) == (0, "", "")
    finally:
        process.kill()


# --- in a browser ----------------------------------------------------------------------------------------------------

DONE = "!document.body.classList.contains('busy') && !document.getElementById('result').hidden"


@pytest.fixture
def browser(tmp_path):
    program = find_browser()
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    browser = Browser(program, tmp_path / "profile")
    yield browser
    browser.close()


def pixel(browser, x, y):
    pen = "new OffscreenCanvas(1, 1).getContext('2d')"
    read = f"pen.drawImage(document.getElementById('view'), -{x}, -{y}), [...pen.getImageData(0, 0, 1, 1).data]"
    return browser.evaluate(f"(pen => ({read}))({pen})")


def move_slider(browser, name, value):
    browser.evaluate(
        f"document.getElementById('{name}').value = {value};"
        f"document.getElementById('{name}').dispatchEvent(new Event('input'))"
    )


def test_the_page_works_in_a_browser(place, browser, predictor, tmp_path):
    image = np.full((60, 90, 3), (10, 200, 30), np.uint8)
    (tmp_path / "a <i>street, ü.png").write_bytes(encoded(image))
    predicted = predictor.predict([image])[0].class_map
    browser.resize(1000, 700)
    browser.open(f"http://127.0.0.1:{place[1]}/")
    assert browser.evaluate("document.getElementById('result').hidden")
    browser.choose_file("#file", tmp_path / "a <i>street, ü.png")
    browser.wait_for(DONE)
    assert browser.evaluate("document.getElementById('name').textContent") == "a <i>street, ü.png"
    found = np.bincount(predicted.ravel(), minlength=len(CITYSCAPES_19.classes))
    texts = browser.evaluate("[...document.querySelectorAll('#classes li')].map(row => row.textContent)")
    assert len(texts) == (found > 0).sum()
    most = found.argmax()
    assert texts[0] == f"{CITYSCAPES_19.classes[most]}{100 * found[most] / found.sum():.1f} %"
    assert all(
        name in browser.evaluate("document.getElementById('absent').textContent")
        for name in (CITYSCAPES_19.classes[index] for index in np.flatnonzero(found == 0))
    )

    y, x = (int(axis[0]) for axis in np.nonzero(predicted == most))
    move_slider(browser, "wipe", 0)
    move_slider(browser, "opacity", 100)
    assert pixel(browser, x, y) == [*CITYSCAPES_19.palette[most], 255]
    move_slider(browser, "opacity", 50)
    mixed = np.array(pixel(browser, x, y)[:3])
    np.testing.assert_allclose(mixed, (np.array(CITYSCAPES_19.palette[most]) + image[0, 0]) / 2, atol=4)
    browser.evaluate("document.querySelector('#classes input').click()")
    np.testing.assert_allclose(pixel(browser, x, y)[:3], image[0, 0], atol=4)  # the photograph, through a JPEG
    browser.evaluate("document.getElementById('all').click()")
    assert pixel(browser, x, y)[:3] == mixed.tolist()
    move_slider(browser, "wipe", 100)
    np.testing.assert_allclose(pixel(browser, x, y)[:3], image[0, 0], atol=4)
    assert browser.problems == []


def test_a_link_to_a_sample_and_the_keyboard(place, browser):
    browser.resize(400, 800)
    browser.open(f"http://127.0.0.1:{place[1]}/?sample=3")
    browser.wait_for(DONE)
    assert browser.evaluate("document.getElementById('name').textContent") == "synthetic scene 3"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400
    browser.evaluate("document.getElementById('view').focus()")
    browser.press("ArrowRight")
    tip = browser.evaluate("document.getElementById('tip').textContent")
    name, _, confidence = tip.rpartition(", ")
    assert name in CITYSCAPES_19.classes and 0 < int(confidence.removesuffix(" %")) <= 100
    assert not browser.evaluate("document.getElementById('point').hidden")
    named = "[...document.querySelectorAll('button, input')].every(item => item.labels?.length || item.textContent)"
    assert browser.evaluate(named)
    assert browser.problems == []


def test_pointing_dragging_and_saving(place, browser, predictor, tmp_path):
    image = photo(60, 90)
    (expected,) = predictor.predict([image], "confidence")
    (tmp_path / "street.v2.png").write_bytes(encoded(image))
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
    browser.resize(1000, 700)
    browser.open(f"http://127.0.0.1:{place[1]}/")
    browser.choose_file("#file", tmp_path / "street.v2.png")
    browser.wait_for(DONE)
    left, top, width, height = browser.evaluate(
        "(box => [box.x, box.y, box.width, box.height])(document.getElementById('view').getBoundingClientRect())"
    )
    x, y = 70, 12  # a pixel of the photograph
    at = dict(x=left + width * (x + 0.5) / 90, y=top + height * (y + 0.5) / 60)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", **at)
    name, _, confidence = browser.evaluate("document.getElementById('tip').textContent").rpartition(", ")
    assert name == CITYSCAPES_19.classes[expected.class_map[y, x]]
    assert abs(float(confidence.removesuffix(" %")) - 100 * expected.confidence[y, x]) < 0.6
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)
    assert browser.evaluate("document.getElementById('wipe').value") == str(round(100 * (x + 0.5) / 90))
    for button, saved in (("save-map", "street.v2_class_map.png"), ("save-overlay", "street.v2_overlay.png")):
        browser.evaluate(f"document.getElementById('{button}').click()")
        end = time.monotonic() + 20
        while not (tmp_path / "saved" / saved).is_file():
            assert time.monotonic() < end, f"{saved} was not saved"
            time.sleep(0.05)
        assert Image.open(tmp_path / "saved" / saved).size == (90, 60)
    found = np.asarray(Image.open(tmp_path / "saved" / "street.v2_class_map.png"))
    assert (found == expected.class_map).mean() > 0.999
    assert browser.problems == []


@pytest.mark.parametrize(("event", "holder"), [("Drag", "dataTransfer"), ("Clipboard", "clipboardData")])
def test_photographs_are_dropped_and_pasted(place, browser, event, holder):
    kind = {"Drag": "drop", "Clipboard": "paste"}[event]
    browser.open(f"http://127.0.0.1:{place[1]}/")
    data = base64.b64encode(encoded(photo())).decode()
    browser.evaluate(
        f"const held = new DataTransfer(); held.items.add(new File([bytesOf('{data}')], 'held.png'));"
        f"document.body.dispatchEvent(new {event}Event('{kind}', {{ {holder}: held, bubbles: true }}))"
    )
    browser.wait_for(DONE)
    assert browser.evaluate("document.getElementById('name').textContent") == "held.png"


def test_errors_stand_on_the_page(place, browser, tmp_path):
    says = "document.getElementById('error').textContent"
    browser.open(f"http://127.0.0.1:{place[1]}/")
    for name, data, words in (
        ("text.jpg", b"text", "'text.jpg' to be a readable image"),
        ("big", bytes(MAX_BYTES + 1), "MiB"),
    ):
        (tmp_path / name).write_bytes(data)
        browser.choose_file("#file", tmp_path / name)
        browser.wait_for(f"{says}.includes({words!r})")
        assert browser.evaluate("document.body.classList.contains('busy')") is False
