"""What a tick of the schedule or the sensor requests."""

from collections.abc import Callable, Iterator

import dagster as dg

from assets.graph.failures import failures_for_people

Requests = Iterator[dg.RunRequest | dg.SkipReason]


def requests_or_reason(ask: Callable[[], Requests]) -> Requests:
    """The requests of a tick; an error that is not a bug of ours becomes the reason why there are none.

    Dagster would show a failed tick with a stack trace, every minute until its cause is gone.
    """
    try:
        with failures_for_people():
            yield from list(ask())
    except dg.Failure as failure:
        yield dg.SkipReason(failure.description)
