"""A pipeline killed at least 50 times while its LLM server fails in every way: what was lost, what was paid twice.

The run itself and its guarantees are in tests/faults.py; the test suite kills it four times.
"""

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, publish
from pipeline.config import LAKE_VARIABLE

KILLS = 50
ATTEMPTS_UNTIL_A_KILL = 24
"""The maximum; the number is drawn at random."""


def main() -> None:
    """Measure and publish."""
    os.environ.pop(LAKE_VARIABLE, None)  # each run has a lake of its own
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    faults = importlib.import_module("faults")
    outcomes: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = importlib.import_module("tiny").write_tiny_subject(folder / "subject")
        prepared = faults.prepare(folder / "prepared", subject)
        while (left := KILLS - sum(outcome.kills for outcome in outcomes)) > 0:
            seed = len(outcomes)
            outcome = faults.run_with_kills(
                prepared, folder / str(seed), seed=seed, max_kills=left, every=ATTEMPTS_UNTIL_A_KILL
            )
            outcomes.append(outcome)
            print(outcome, flush=True)

    def total(name: str) -> int:
        return sum(getattr(outcome, name) for outcome in outcomes)

    kills, n_differ = total("kills"), sum(len(outcome.tables_that_differ) for outcome in outcomes)
    publish(
        "faults",
        [
            Figure("kills", kills, "kills", KILLS, "higher", note=f"SIGKILL in mid-request; {len(outcomes)} runs"),
            Figure("tables_that_differ", n_differ, "tables", 0, note="from a run without kills and faults"),
            Figure("asked_although_recorded", total("asked_although_recorded"), "requests", 0),
            Figure(
                "paid_twice_in_one_life",
                total("paid_twice_in_one_life"),
                "requests",
                0,
                note="with no kill in between; at 0, only requests in flight at a kill were paid twice",
            ),
            Figure(
                "paid_twice",
                total("repeats"),
                "requests",
                kills * faults.IN_FLIGHT,
                note=f"of {total('requests'):,} requests; at most kills x {faults.IN_FLIGHT} in flight",
            ),
            Figure("attempts", total("attempts"), "requests", note="at the server, faults included"),
        ],
    )


if __name__ == "__main__":
    main()
