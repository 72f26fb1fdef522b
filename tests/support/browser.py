"""Headless Chromium, driven over its debugging pipe: real keys and a real mouse, in real time."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def find():
    """The program, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in a browser of its own, 1200 by 900 pixels."""

    def __init__(self, program, home):
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # Chromium reads from 3 and writes to 4; the shell puts the ends there.
        shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = [program, *FLAGS, f"--user-data-dir={home}", "--window-size=1200,900", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, *command],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(theirs_in, theirs_out),
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.ours_in, self.ours_out, self.rest, self.number, self.session = ours_in, ours_out, b"", 0, None
        targets = self("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def __call__(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.ours_out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(time.monotonic() + 60)
            if answer.get("id") == self.number:
                assert "result" in answer, answer
                return answer["result"]

    def _receive(self, deadline):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.ours_in], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.ours_in, 1 << 20) if ready else b""
            assert data, "the browser does not answer"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\0")
        return json.loads(line)

    def js(self, expression):
        """The value of an expression; a promise is waited for."""
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path, fragment=""):
        self("Page.enable")
        self("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.wait("document.readyState === 'complete'")
        self.settle()

    def wait(self, condition):
        deadline = time.monotonic() + 60
        while not self.js(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.02)

    def settle(self):
        """Until the page shows what it was asked for."""
        self.js("new Promise((done) => setTimeout(done, 30))")
        self.wait("document.documentElement.dataset.state === 'ready'")

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key)
        self.settle()

    def drag(self, *points):
        """Press at the first point, move along, let go at the last; one point is a click."""
        self(
            "Input.dispatchMouseEvent", type="mousePressed", x=points[0][0], y=points[0][1], button="left", clickCount=1
        )
        for x, y in points[1:]:
            self("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        x, y = points[-1]
        self("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)
        self.settle()

    def wheel(self, x, y, amount):
        self("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=amount)
        self.settle()

    def screenshot(self):
        """PNG bytes of the window."""
        return base64.b64decode(self("Page.captureScreenshot", format="png")["data"])

    def close(self):
        with contextlib.suppress(OSError, AssertionError):
            self.session = None
            self("Browser.close")
        os.close(self.ours_in)
        os.close(self.ours_out)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
