"""Nothing is lost and nothing recorded is paid again, though the server fails and the pipeline is killed.

`benchmarks/faults.py` does the same with more kills.
"""

import pytest
from faults import IN_FLIGHT, run_with_kills

pytestmark = pytest.mark.whole


def test_a_run_killed_amid_faults_ends_as_if_nothing_had_happened(tmp_path, prepared):
    outcome = run_with_kills(prepared, tmp_path, seed=1, max_kills=3, every=40, n_questions=4)
    assert outcome.kills == 3
    assert outcome.tables_that_differ == []
    assert outcome.asked_although_recorded == 0
    assert outcome.paid_twice_in_one_life == 0
    assert outcome.repeats <= outcome.kills * IN_FLIGHT
    assert outcome.attempts > outcome.requests > 60
