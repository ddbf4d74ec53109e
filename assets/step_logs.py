"""What steps print, kept for the UI as Dagster keeps it by itself, without the stack traces at Ctrl-C."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData


class StepLogs(LocalComputeLogManager):
    """Copies of each step's stdout and stderr in `DAGSTER_HOME/storage`. `dagster.yaml` names this class.

    A terminal sends Ctrl-C to all processes in it, also to those with which Dagster copies a step's output; those
    written in Python would print a stack trace. They start with the signal blocked, and end by another one.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No settings."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "StepLogs":
        """The logs below Dagster's home, in the folder that Dagster takes by itself.

        A worker of a cluster has no such home: its logs are for its cluster, and their copy is temporary.
        """
        home = os.environ.get("DAGSTER_HOME") or gettempdir()
        return cls(str(Path(home) / "storage"), inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Copy what is printed, until the end of the block."""
        with ExitStack() as stack:
            earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                context = stack.enter_context(super().capture_logs(log_key))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
            yield context
