"""A headless Chromium, driven by the DevTools protocol over its pipe; it has no network but this machine.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-extensions", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--mute-audio", "--remote-debugging-pipe",
    # Every host but this machine is unknown, and no proxy stands before it.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server",
)  # fmt: skip
# Chromium reads commands from descriptor 3 and writes answers to 4.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE = 120
"""Seconds until an answer must have come; on a loaded machine a start takes long."""


@cache
def find_chromium() -> str | None:
    """The command of an installed Chromium; None without one. A distribution's stub that only advises is none."""
    found = [path for name in COMMANDS if (path := shutil.which(name))]
    return next((path for path in found if _says_its_version(path)), None)


def _says_its_version(path: str) -> bool:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "chrom" in done.stdout.lower()


class Browser:
    """One page of a Chromium, and all that it logs and requests.

    Args:
        profile: a folder for its profile.
        size: width and height of the window.
        is_dark: whether pages are asked to be dark.
    """

    def __init__(self, profile: Path, size: tuple[int, int] = (1400, 1000), is_dark: bool = False) -> None:
        command = find_chromium()
        if command is None:
            raise FileNotFoundError("there is no Chromium")
        read_commands, self._out = os.pipe()
        self._in, write_answers = os.pipe()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _START, str(read_commands), str(write_answers)),
                *(command, *OPTIONS, f"--user-data-dir={profile}", "about:blank"),
            ],
            pass_fds=(read_commands, write_answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        self._buffer, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.show(size, is_dark)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def show(self, size: tuple[int, int] = (1400, 1000), is_dark: bool = False, media: str = "") -> None:
        """Set the width and height of the window, whether pages are asked to be dark, and the medium, as print."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme], media=media)

    def open(self, address: str) -> None:
        """Go to an address, until it is loaded; from another address, since a new fragment alone loads nothing."""
        for one in ("about:blank", address):
            self.events = [] if one == address else self.events
            self.call("Page.navigate", url=one)
            self.evaluate(
                "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
            )

    def evaluate(self, script: str) -> Any:
        """The value of a script, awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def choose_files(self, selector: str, paths: Sequence[Path]) -> None:
        """Choose files in an input, as a user does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def wait_until(self, condition: str) -> None:
        """Wait until a script is true."""
        self.evaluate(
            "new Promise((done, fail) => { const ends = Date.now() + 1000 * "
            f"{PATIENCE}; const look = () => ({condition}) ? done() : Date.now() > ends ? "
            f"fail('still not: ' + {json.dumps(condition)}) : setTimeout(look, 20); look() }})"
        )

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            code = {"Enter": 13, " ": 32, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "End": 35}[key]
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)
        self.settle()

    def move_to(self, x: float, y: float) -> None:
        """Move the pointer, in pixels of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settle()

    def settle(self) -> None:
        """Wait until what has been asked for is drawn."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")

    def screenshot(self, path: Path, is_whole: bool = False) -> None:
        """Write the window, or the whole page, as a PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and uncaught exceptions, since `open`."""
        said = []
        for event in self.events:
            values = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(json.dumps(values["exceptionDetails"]))
            if event.get("method") == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
                said.append(json.dumps(values["args"]))
            if event.get("method") == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
                said.append(values["entry"]["text"])
        return said

    def requests(self) -> list[str]:
        """The addresses that the page asked for since `open`, without its own file and data within it."""
        sent = [one["params"] for one in self.events if one.get("method") == "Network.requestWillBeSent"]
        addresses = [one["request"]["url"] for one in sent if one["type"] != "Document"]
        return [one for one in addresses if not one.startswith("data:")]

    def close(self) -> None:
        """End the browser."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _next(self) -> dict[str, Any]:
        ends = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0, ends - time.monotonic()))
            part = os.read(self._in, 2**20) if ready else b""
            if not part:
                raise RuntimeError("the browser has ended, or does not answer")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message
