"""Errors as Dagster shows them to people."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pipeline.errors import faults, sentence_of


@contextmanager
def failures_for_people() -> Iterator[None]:
    """Turn an error that is not a bug of ours into a step failure with a one-sentence description."""
    try:
        yield
    except faults() as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        raise dg.Failure(description=sentence, allow_retries=False) from None
