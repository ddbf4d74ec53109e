"""A page in a real browser: headless Chromium, controlled through its DevTools protocol.

The variable LATENTLAKE_CHROMIUM names the program; the default is `chromium`.
"""

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_SECONDS = 180
"""Time-out for a page."""


class Page:
    """One tab of a browser. Errors that the browser reports about a page are in `complaints`."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self._connection = connection
        self._session = session
        self._number = 0
        self.complaints: list[str] = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result. Raises RuntimeError with the browser's message if it fails."""
        self._number += 1
        message = {"id": self._number, "sessionId": self._session, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                found: dict[str, Any] = answer["result"]
                return found

    def look_like(self, width: int, height: int, *, is_dark: bool = False, scale: float = 1.0) -> None:
        """Set the window's size in CSS pixels, its colour scheme, and its device pixel ratio."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded. Raises RuntimeError if it cannot be reached."""
        self._loaded = False
        found = self.command("Page.navigate", url=address)
        if error := found.get("errorText"):
            raise RuntimeError(f"{address}: {error}")
        while not self._loaded:
            self._receive()

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited. Raises RuntimeError with what it throws."""
        found = self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if failure := found.get("exceptionDetails"):
            raise RuntimeError(failure.get("exception", failure).get("description", failure["text"]))
        return found["result"].get("value")

    def picture(self, path: Path) -> None:
        """Write a PNG of the visible part of the page."""
        found = self.command("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    def _receive(self) -> dict[str, Any]:
        """The next message; complaints and the end of loading are recorded."""
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=_SECONDS))
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Log.entryAdded" if message["params"]["entry"]["level"] in {"warning", "error"}:
                self.complaints.append(message["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(message["params"]["exceptionDetails"]["text"])
        return message


@contextmanager
def open_browser() -> Iterator[Page]:
    """A tab in a new browser, which is closed afterwards."""
    program = os.environ.get("LATENTLAKE_CHROMIUM") or "chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            with connect(_address(process), max_size=None) as connection:
                yield _tab(connection)
        finally:
            process.terminate()
            process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    """The address at which a new browser listens. Raises RuntimeError with its output if it did not start."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        if line.startswith("DevTools listening on "):
            return line.removeprefix("DevTools listening on ").strip()
        said += line
    raise RuntimeError(f"the browser did not start: {said.strip()}")


def _tab(connection: ClientConnection) -> Page:
    def ask(number: int, method: str, **parameters: Any) -> dict[str, Any]:
        connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(connection.recv(timeout=_SECONDS))).get("id") != number:
            pass
        found: dict[str, Any] = answer["result"]
        return found

    target = ask(-1, "Target.createTarget", url="about:blank")["targetId"]
    return Page(connection, ask(-2, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
