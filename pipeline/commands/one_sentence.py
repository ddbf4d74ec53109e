"""How a command ends: what is no bug of ours is one sentence, without a stack trace."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from pipeline.errors import faults, sentence_of

Arguments = ParamSpec("Arguments")

STOPPED = 130
"""The exit code of what was stopped, as a shell gives it for Ctrl-C."""


def in_one_sentence(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """The command, with exit code 2 and a sentence on stderr for bad input or a failing disk, 130 for Ctrl-C."""

    @wraps(main)
    def command(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except KeyboardInterrupt:
            print("\nstopped; run again to go on", file=sys.stderr)
            return STOPPED
        except faults() as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            print(f"error: {sentence}", file=sys.stderr)
            return 2

    return command
