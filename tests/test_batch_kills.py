"""A run by a provider's batch API, killed with SIGKILL amid its calls: nothing is sent twice or lost."""

import random

import pytest
from faults import SAE, TABLES, _context, _experiment, _explain_and_score
from llm.batch_oracle import BatchOracle, End
from oracles import scorer
from tiny import open_lake, stored
from waiting import until

from pipeline.config import load_config
from pipeline.llm.oracle.judges import literal

KILLS = 4
CALLS_UNTIL_A_KILL = 8
"""At most; the number is drawn."""


def explain_and_score(path: str) -> None:
    from pipeline.llm.provider_batches import calls

    calls.LISTED_AFTER_SECONDS = 0.1
    _explain_and_score(path)


def start(path):
    process = _context().Process(target=explain_and_score, args=(str(path),))
    process.start()
    return process


def run_until_killed(path, oracle, n_calls):
    """Start a run, and kill it once it has made so many calls; its exit code."""
    n_before, process = len(oracle.paths), start(path)
    until(lambda: not process.is_alive() or len(oracle.paths) >= n_before + n_calls, every=0.002)
    process.kill()
    process.join()
    return process.exitcode


@pytest.mark.whole
def test_a_run_by_batches_that_is_killed_ends_as_if_nothing_had_happened(tmp_path, prepared):
    draw = random.Random(0)
    endpoint = {"batch": True, "batch_poll_seconds": 0.05}
    tables = {}
    for name, kills in (("quiet", 0), ("killed", KILLS)):
        expires = End("expired", lambda number: "answer" if number % 3 else "expired")
        ends = [End(n_looks=2), expires, End(n_looks=1)]
        with BatchOracle(scorer(literal), ends=ends if kills else [End()]) as oracle:
            path = _experiment(prepared, tmp_path / name, oracle.base_url, n_questions=10, endpoint=endpoint)
            codes = [run_until_killed(path, oracle, draw.randint(1, CALLS_UNTIL_A_KILL)) for _ in range(kills)]
            assert set(codes) <= {-9, 0}
            last = start(path)
            last.join()
            assert last.exitcode == 0
            expired = [
                line["custom_id"]
                for batch in oracle.batches.values()
                for number, line in enumerate(batch.lines)
                if batch.end.line(number) == "expired"
            ]
            # Only what a batch did not answer is sent again.
            assert len(oracle.asked()) - len(expired) == len(set(oracle.asked()))
            assert oracle.n_requests == 0 and (not kills or expired)
        lake = open_lake(load_config(path))
        tables[name] = {table: stored(lake, table, sae=SAE, batch=0) for table in TABLES}
    assert -9 in codes
    assert [table for table in TABLES if not tables["quiet"][table].equals(tables["killed"][table])] == []
