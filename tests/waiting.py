"""Waiting in tests: for what other processes and threads do, and for pages whose models are being loaded."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from starlette.testclient import TestClient

T = TypeVar("T")


def until(look: Callable[[], T], seconds: float = 120.0, every: float = 0.02) -> T:
    """What `look` finds, once it finds something. It looks every so many seconds, and fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing within {seconds:g} seconds"
        time.sleep(every)
    return found


def loaded(browser: TestClient, address: str, **parameters: str) -> str:
    """A page of the explorer, once the models that it needs are loaded: until then it asks to be loaded again."""

    def look() -> str:
        page = browser.get(address, params=parameters or None)
        assert page.status_code == 200, (address, page.text)
        return "" if 'http-equiv="refresh"' in page.text else page.text

    return until(look, seconds=60, every=0.1)


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt the processes of a session, and kill what is left of them after 20 seconds."""
    os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
