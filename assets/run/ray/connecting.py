"""Reaching a Ray cluster: its address, and patience while it does not answer."""

import re
import socket
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

from assets.stopping import raise_if_asked
from pipeline.errors import ConfigError, LakeError
from pipeline.progress import tell

_LOOK_AGAIN_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
_PATIENCE_SECONDS = 120.0
"""How long to retry while a cluster does not answer: its head may be starting, or be busy. A busy one may take
half a minute or more to answer at `ray://`."""
_ADDRESS = re.compile(r"(?:(?P<scheme>ray|https?)://)?(?P<host>[^/:@\s]+):(?P<port>\d+)/?")

_Answer = TypeVar("_Answer")


def checked_address(given: str) -> str:
    """A cluster's address in the form that Ray takes, after a check that something listens there.

    Raises:
        ConfigError: It is not an address, or Ray is not installed.
        LakeError: Nothing listens there.
    """
    address = "auto" if given in {"auto", "ray://auto"} else given
    parts = _ADDRESS.fullmatch(address)
    if address != "auto" and parts is None:
        raise ConfigError(
            f"'{given}' is not a Ray cluster address; give ray://HOST:10001, http://HOST:8265, or auto on one of "
            "its nodes"
        )
    if not all(map(find_spec, ("ray", "dagster_ray"))):
        raise ConfigError("running on a Ray cluster needs latentlake[ray]; install it here and on the nodes")
    if parts:
        host, port = parts["host"], int(parts["port"])
        try:
            ask(given, lambda: socket.create_connection((host, port), _ANSWER_SECONDS).close())
        except (OSError, OverflowError) as error:  # no such host, or no route to it
            raise LakeError(f"there cannot be a Ray cluster at '{given}': {error}") from None
    return address


def ask(address: str, question: Callable[[], _Answer], *silences: type[Exception]) -> _Answer:
    """The answer of the cluster at an address to a question; while there is none, retries for two minutes.

    `silences` are the exceptions, besides Python's own, that mean no answer: the head is starting, busy or gone.
    Raises LakeError if there is no answer in that time.
    """
    kinds: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, *silences)
    end: float | None = None
    while True:
        try:
            return question()
        except kinds as error:
            # The last line, because Ray sends whole stack traces.
            *_, why = [type(error).__name__, *filter(None, map(str.strip, str(error).splitlines()))]
            if end is None:
                end = time.monotonic() + _PATIENCE_SECONDS
                tell(f"the Ray cluster at '{address}' does not answer ({why}); retrying for two minutes")
            if time.monotonic() >= end:
                raise LakeError(
                    f"no Ray cluster answers at '{address}' ({why}); start one with `ray start --head`; if it is "
                    "already up, run again: the command waits for work that is still in progress"
                ) from None
        time.sleep(_LOOK_AGAIN_SECONDS)
        raise_if_asked()
