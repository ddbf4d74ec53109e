"""Decides when the next request may be sent: as many as the endpoint can handle, and none while it asks to wait.

Slow start, then additive increase and multiplicative decrease (Jacobson 1988, Chiu and Jain 1989): the number
allowed doubles every round trip until the endpoint is overloaded for the first time, and then grows by one per
round trip. An overload halves it, at most once per round trip.
"""

import asyncio
import email.utils
import random
import time
from collections import deque

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
LONGEST_RETRY_AFTER_SECONDS = 300.0
"""The longest that an endpoint may ask to wait, in total since it last answered."""
_ALLOWED_AT_FIRST = 16


class Pace:
    """The requests in flight at one endpoint, for all purposes.

    Args:
        limit: Maximum requests in flight.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._allowed = float(min(_ALLOWED_AT_FIRST, limit))
        self._slow_start = True
        self._cut_at = 0.0
        self._closed_until = 0.0
        self._closed_seconds = 0.0
        """How long the endpoint has asked to wait since it last answered."""
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def allowed(self) -> int:
        """Number of requests that may be in flight now."""
        return int(self._allowed)

    async def enter(self) -> float:
        """Wait until a request may be sent; returns that time, for `leave`."""
        while True:
            wait_seconds = self._closed_until - time.monotonic()
            if wait_seconds > 0:
                await asyncio.sleep(wait_seconds)
            elif self._in_flight >= self.allowed:
                turn = asyncio.get_running_loop().create_future()
                self._waiting.append(turn)
                await turn
            else:
                self._in_flight += 1
                return time.monotonic()

    def leave(self, entered_at: float, *, went_well: bool = False, overloaded: bool = False) -> None:
        """End a request that entered at that time; its outcome adjusts how many may be in flight."""
        self._in_flight -= 1
        if went_well:
            self._closed_seconds = 0.0
            self._allowed = min(self._limit, self._allowed + (1 if self._slow_start else 1 / self._allowed))
        elif overloaded and entered_at > self._cut_at:  # requests sent before the cut say nothing about it
            self._allowed = max(1.0, self._allowed / 2)
            self._slow_start = False
            self._cut_at = time.monotonic()
        n_free = self.allowed - self._in_flight
        while n_free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                n_free -= 1

    def close_for(self, seconds: float) -> bool:
        """Send nothing for this long, as the endpoint asked; False if that would be too long.

        A quota that has ended asks for hours at once, or for a minute again and again.
        """
        now = time.monotonic()
        longer = now + seconds - max(now, self._closed_until)
        if longer > 0:
            self._closed_seconds += longer
            if self._closed_seconds > LONGEST_RETRY_AFTER_SECONDS:
                self._closed_seconds = 0.0  # the endpoint outlives the run that this ends
                return False
            self._closed_until = now + seconds
        return True


def back_off_seconds(attempts: int) -> float:
    """How long to wait after this many attempts: doubling, capped, with full jitter (Brooker 2015)."""
    return random.uniform(0, min(FIRST_WAIT_SECONDS * 2.0 ** (attempts - 1), LONGEST_WAIT_SECONDS))


def retry_after_seconds(header: str | None) -> float | None:
    """Seconds in a Retry-After header, which holds a number or a date; None if it holds neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
