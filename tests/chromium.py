"""A headless Chromium, driven through the DevTools protocol over a pipe: nothing but the standard library, no network."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
PLUMBING = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Chromium reads commands from descriptor 3 and writes answers to 4."""
PATIENCE = 60.0
KEYS = {"Tab": 9, "Enter": 13, " ": 32}


def above_others(descriptor):
    """The same pipe under a number that cannot be 3 or 4."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return moved


class Browser:
    """A browser process; use it in a ``with`` statement."""

    def __init__(self, profile):
        ends = [above_others(end) for pair in (os.pipe(), os.pipe()) for end in pair]
        theirs_in, self.out, self.answers, theirs_out = ends
        command = [CHROMIUM, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PLUMBING, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer, self.sent, self.events = b"", 0, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.out)
            os.close(self.answers)

    def call(self, method, session=None, **parameters):
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        os.write(self.out, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.sent:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        """The next message."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self.answers, 2**20)
            assert part, "Chromium has ended"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, **settings):
        """A tab that shows a file."""
        return Tab(self, path, **settings)


class Tab:
    """A page of a file, loaded.

    Args:
        browser: Where it is opened.
        path: Of the file.
        width: Of the window, in CSS pixels.
        scheme: ``light`` or ``dark``.
        media: ``screen`` or ``print``.
        script: Whether scripts run.
    """

    def __init__(self, browser, path, *, width=1200, scheme="light", media="screen", script=True):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        while not self.heard("Page.loadEventFired"):
            browser.events.append(browser.receive())

    def call(self, method, **parameters):
        """A command to this tab."""
        return self.browser.call(method, self.session, **parameters)

    def heard(self, method):
        """The events of a kind that this tab has sent."""
        events = self.browser.events
        return [e["params"] for e in events if e.get("sessionId") == self.session and e.get("method") == method]

    def run(self, expression):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def complaints(self):
        """What stands in the console that is an error or a warning."""
        said = [
            e["args"] for e in self.heard("Runtime.consoleAPICalled") if e["type"] in ("error", "warning", "assert")
        ]
        logged = [
            e["entry"]["text"] for e in self.heard("Log.entryAdded") if e["entry"]["level"] in ("error", "warning")
        ]
        return said + logged + self.heard("Runtime.exceptionThrown")

    def requests(self):
        """Every address that was asked for."""
        return [e["request"]["url"] for e in self.heard("Network.requestWillBeSent")]

    def click(self, selector):
        """A press of the mouse in the middle of an element."""
        place = f"(e => (e.scrollIntoView({{block: 'center'}}), e.getBoundingClientRect().toJSON()))({find(selector)})"
        box = self.run(place)
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at)

    def press(self, key):
        """A key, pressed and released."""
        code = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def pdf(self):
        """The page as it is printed."""
        return b64decode(self.call("Page.printToPDF")["data"])

    def picture(self, *, height=None):
        """The page as a PNG, from its top."""
        size = self.run("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], height or size[1]), "scale": 1}
        return b64decode(self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"])


def find(selector):
    """The JavaScript that finds an element."""
    return f"document.querySelector({json.dumps(selector)})"
