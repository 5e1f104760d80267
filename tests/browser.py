"""A headless Chromium, driven over WebDriver with the standard library alone."""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1280,900",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
LEFT, RIGHT, HOME, END, TAB, ESCAPE, ENTER = "\ue012", "\ue014", "\ue011", "\ue010", "\ue004", "\ue00c", "\ue007"
SECONDS = 20


class Browser:
    """One window. Skips the test where Chromium or its driver is absent."""

    def __init__(self):
        driver = shutil.which("chromedriver")
        browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if not driver or not browser:
            pytest.skip("no Chromium with chromedriver on PATH: apt-get install chromium chromium-driver")
        self._profile = tempfile.TemporaryDirectory(prefix="tam-browser-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
        started = next(line for line in self._process.stdout if "successfully on port" in line)
        self._url = f"http://127.0.0.1:{started.rstrip().rstrip('.').split()[-1]}"
        options = {"binary": browser, "args": [*ARGUMENTS, f"--user-data-dir={self._profile.name}"]}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}
        self._url += "/session/" + self._call("/session", capabilities=wanted)["sessionId"]

    def _call(self, path: str, **body):
        request = urllib.request.Request(
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def close(self) -> None:
        urllib.request.urlopen(urllib.request.Request(self._url, method="DELETE"), timeout=60).close()
        self._process.terminate()
        self._process.communicate()
        self._profile.cleanup()

    def open(self, page: Path, place: str = "") -> None:
        """Load a page anew; ``place`` is what stands after the hash sign."""
        self._call("/url", url="about:blank")
        self._call("/url", url=page.as_uri() + place)

    def visit(self, address: str) -> None:
        """Load what a server serves."""
        self._call("/url", url=address)

    def choose(self, field: str, file: Path) -> None:
        """Choose a file in a field for files."""
        root = self.protocol("DOM.getDocument")["root"]["nodeId"]
        node = self.protocol("DOM.querySelector", nodeId=root, selector=field)["nodeId"]
        self.protocol("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def run(self, script: str, *arguments):
        """The value that a script returns."""
        return self._call("/execute/sync", script=script, args=arguments)

    def until(self, expression: str) -> None:
        """Wait until an expression holds."""
        deadline = time.monotonic() + SECONDS
        while not self.run(f"return Boolean({expression})"):
            assert time.monotonic() < deadline, f"still not: {expression}"
            time.sleep(0.02)

    def protocol(self, command: str, **parameters):
        """A command of the Chrome DevTools protocol."""
        return self._call("/goog/cdp/execute", cmd=command, params=parameters)

    def press(self, key: str) -> None:
        steps = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._call("/actions", actions=[{"type": "key", "id": "keys", "actions": steps}])

    def point(self, selector: str, *, touch: bool = False) -> None:
        """Move the mouse onto an element, or tap it."""
        x, y = self.run(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'nearest'});"
            "const b = e.getClientRects()[0]; return [b.x + b.width / 2, b.y + b.height / 2].map(Math.round)",
            selector,
        )
        if touch:
            self.protocol("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
            self.protocol("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        self._mouse({"type": "pointerMove", "x": x, "y": y, "duration": 0})

    def click(self, selector: str) -> None:
        """Move the mouse onto an element, and press its left button."""
        self.point(selector)
        self._mouse(*({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")))

    def _mouse(self, *steps: dict[str, object]) -> None:
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self._call("/actions", actions=[mouse])

    def into(self, frame: str | None) -> None:
        """What follows is of a frame of the page, or, without one, of the page again."""
        found = None if frame is None else self.run("return document.querySelector(arguments[0])", frame)
        self._call("/frame", id=found)

    def complaints(self) -> list[str]:
        """Messages of the console, and of what the browser itself refused, since they were last asked for."""
        return [entry["message"] for entry in self._call("/se/log", type="browser")]

    def requests(self) -> list[str]:
        """Addresses that pages asked for since this was last called, but for the browser's own pages."""
        events = [json.loads(entry["message"])["message"] for entry in self._call("/se/log", type="performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["documentURL"].startswith("chrome:")]
