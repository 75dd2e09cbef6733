"""A real browser without a window, driven through its DevTools protocol over a pair of pipes; no library is needed."""

import json
import os
import select
import shutil
import subprocess
import time

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One page of a headless Chromium.

    Attributes:
        problems: what the page's console has said: errors, warnings, and exceptions that nobody caught.
    """

    def __init__(self, program, profile):
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
        (child_reads, self._writes), (self._reads, child_writes) = os.pipe(), os.pipe()
        # Chromium reads its file 3 and writes its file 4; numbers of ours may be the same, so they move up first.
        moves = f"exec 8<&{child_reads} 9>&{child_writes}; exec 3<&8 4>&9 8<&- 9>&-; exec " + '"$@"'
        command = ["bash", "-c", moves, "bash", program, *options, "--remote-debugging-pipe", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=(child_reads, child_writes), stderr=subprocess.DEVNULL)
        os.close(child_reads)
        os.close(child_writes)
        self._buffer, self._number, self._session, self.problems = b"", 0, None, []
        pages = [item for item in self.call("Target.getTargets")["targetInfos"] if item["type"] == "page"]
        page = pages[0]["targetId"] if pages else self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def close(self):
        self._session = None
        self.call("Browser.close")
        self._process.wait(timeout=20)
        os.close(self._writes)
        os.close(self._reads)

    def call(self, method, **params):
        """The result of a command of the protocol."""
        self._number += 1
        message = dict(id=self._number, method=method, params=params)
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def evaluate(self, expression):
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=30):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} stayed false for {seconds} s; console: {self.problems}")
            time.sleep(0.05)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait_for(f"document.readyState === 'complete' && location.href.startsWith({url[:20]!r})")

    def resize(self, width, height, scheme="light"):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[dict(name="prefers-color-scheme", value=scheme)])

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def press(self, key):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def _receive(self, seconds=60):
        while b"\0" not in self._buffer:
            if not select.select([self._reads], [], [], seconds)[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._reads, 1 << 20)
            if not data:
                raise RuntimeError("the browser has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(message)
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(str(params["args"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        return message


def find_browser():
    """Path of an installed browser, or None."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)
