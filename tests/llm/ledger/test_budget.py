"""The budget: caps hold to the last request, among processes, and when one of them dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llm import client_of
from llm.oracle import Oracle, Reply, last_message
from pipeline.errors import ConfigError
from pipeline.llm import Answer, Ledger, Message, Request, ask
from pipeline.llm.ledger import budget
from pipeline.llm.ledger.budget import Budget, Limits, asked_as, is_spent
from pipeline.llm.ledger.prices import Price, Prices
from pipeline.llm.ledger.spent import Amount, Spent, most_usd
from pipeline.llm.server.client import not_given

PRICES = Prices({"model": Price(prompt=1e6, cached=0.5e6, completion=2e6)})  # a dollar a token, and two
PAID = ("prompt_tokens", "cached_tokens", "completion_tokens")
ROOT = Path(__file__).parents[3]


def questions(n=12, start=0):
    return [
        Request("detection", "sae", 0, "model", (Message("user", f"question {number}"),), max_tokens=5)
        for number in range(start, start + n)
    ]


def echo(body):
    return f"answer to {last_message(body)}"  # four words, of which the oracle counts a token each


def budget_of(folder, requests=None, usd=None, prices=PRICES):
    noted = folder / "noted"
    return Budget(
        Spent(folder / "ledger", prices, folder / "budget"), Limits(requests, usd), prices, note=noted.write_bytes
    )


def open_ledger(folder, first=0):
    return Ledger(folder / "ledger", "predictions", "sae", first, first + 9, PRICES)


def asked(folder, oracle, wanted, **limits):
    with open_ledger(folder) as ledger, budget_of(folder, **limits) as budget:
        return ask(ledger, client_of(oracle.base_url, None, max_attempts=1), wanted, budget=budget)


def statuses(answers):
    return [answer.status for answer in answers.values()]


def record(folder, request, **changes):
    values = {
        **{"request_id": request.request_id, "status": "ok", "text": "Yes", "probabilities": None},
        **{"resolved_model": None, "finish_reason": "stop", "attempts": 1, "duration_ms": 1},
        **{"prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 2},
        "requested_at": "2026-01-01T00:00:00.000+00:00",
    }
    with open_ledger(folder) as ledger:
        ledger.record(request, Answer(**{**values, **changes}))


def test_a_cap_on_requests_is_reached_to_the_last_one_and_the_rest_waits(tmp_path):
    with Oracle(echo) as oracle:
        first = asked(tmp_path, oracle, questions(), requests=5)
        assert oracle.n_requests == 5
        assert statuses(first) == ["ok"] * 5 + ["budget"] * 7
        assert asked(tmp_path, oracle, questions(), requests=5).keys() == first.keys()
        assert oracle.n_requests == 5
        raised = asked(tmp_path, oracle, questions(), requests=12)
        assert oracle.n_requests == 12 and set(statuses(raised)) == {"ok"}
    assert {last_message(body) for body in oracle.requests} == {f"question {n}" for n in range(12)}


def test_a_request_that_the_budget_lacks_is_not_in_the_ledger(tmp_path):
    with Oracle(echo) as oracle:
        asked(tmp_path, oracle, questions(), requests=0)
        assert oracle.n_requests == 0
    [path] = (tmp_path / "ledger").rglob("*.jsonl")
    assert path.read_text() == ""


def test_a_cap_in_dollars_is_never_passed_and_used_up_to_the_bound_of_one_request(tmp_path):
    wanted = questions(90, start=10)
    bound = most_usd(PRICES.of("model"), wanted[0].messages, wanted[0].max_tokens)
    real = 2 * 1 - 1 * 0.5 + 4 * 2  # two words of prompt, one of them cached, and four of an answer
    with Oracle(echo) as oracle:
        answers = asked(tmp_path, oracle, wanted, usd=bound + 30 * real)
        spent = budget_of(tmp_path, usd=1).spent()
    # Exactly: one more, and the bound of that one would have passed the cap.
    assert spent == Amount(31, pytest.approx(31 * real))
    assert statuses(answers).count("ok") == oracle.n_requests == 31
    assert bound > 5 * real  # so it took rounds: what was reserved too much was reserved again


def test_the_bound_of_a_request_is_above_what_any_tokenizer_counts(tmp_path):
    price = Price(prompt=1e6, completion=0)
    assert most_usd(price, [Message("user", "日本語")], 5) >= len("日本語".encode())
    assert most_usd(Price(prompt=0, cached=1e6, completion=0), [Message("user", "ab")], 5) >= 2


def test_what_failed_without_a_word_of_what_it_used_is_not_counted(tmp_path):
    def fail_on_even(body):
        is_even = int(last_message(body).split()[1]) % 2 == 0
        return Reply(fault="status", status=400) if is_even else echo(body)

    with Oracle(fail_on_even) as oracle:
        answers = asked(tmp_path, oracle, questions(), requests=6)
        # The even ones left room for the odd ones, and each was sent once.
        assert oracle.n_requests == 12 == len({last_message(body) for body in oracle.requests})
        assert statuses(answers) == ["http_error", "ok"] * 6
    assert budget_of(tmp_path).spent().requests == 6


def test_what_failed_and_was_used_counts(tmp_path):
    record(tmp_path, questions(1)[0], status="http_error")
    assert budget_of(tmp_path).spent() == Amount(1, 6 + 2 + 4)


def test_what_was_too_long_to_be_answered_costs_nothing(tmp_path):
    record(tmp_path, questions(1)[0], status="too_long", completion_tokens=None)
    assert budget_of(tmp_path).spent() == Amount()


def test_what_the_server_could_not_be_asked_costs_nothing_and_is_no_request(tmp_path):
    [request] = questions(1)
    unsent = not_given(request)
    record(tmp_path, request, **{name: getattr(unsent, name) for name in (*PAID, "status", "attempts", "error")})
    assert budget_of(tmp_path).spent() == Amount()


def test_an_answer_without_usage_counts_as_the_most_that_it_can_have_cost(tmp_path):
    [request] = questions(1)
    record(tmp_path, request, prompt_tokens=None, cached_tokens=None, completion_tokens=None)
    assert budget_of(tmp_path).spent().usd == most_usd(PRICES.of("model"), request.messages, request.max_tokens)


def test_what_was_recorded_keeps_its_price_and_what_had_none_gets_todays(tmp_path):
    record(tmp_path, questions(1)[0])
    [path] = (tmp_path / "ledger").rglob("*.jsonl")
    [line] = path.read_text().splitlines()
    assert json.loads(line)["cost_usd"] == 12
    dearer = Prices({"model": Price(prompt=2e6, completion=2e6)})
    assert budget_of(tmp_path, prices=dearer).spent().usd == 12
    path.write_text(line.replace('"cost_usd":12.0', '"cost_usd":null') + "\n")
    assert budget_of(tmp_path, prices=dearer).spent().usd == 24
    assert budget_of(tmp_path, prices=Prices({})).spent() == Amount(1, 0)


def test_torn_lines_cost_nothing_and_a_ledger_that_was_cut_is_counted_anew(tmp_path):
    record(tmp_path, questions(1)[0])
    [path] = (tmp_path / "ledger").rglob("*.jsonl")
    budget = budget_of(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"request_id": "ab')
        file.flush()
        assert budget.spent().requests == 1
        file.write(b"\n")
    assert budget.spent().requests == 1
    path.write_bytes(b"")
    assert budget.spent() == Amount()


def test_lines_that_an_earlier_process_has_added_up_are_not_read_again(tmp_path, monkeypatch):
    known, new, *_ = questions()
    record(tmp_path, known)
    with budget_of(tmp_path, usd=100) as first:
        spent = first.spent()
    read, of = [], Spent._of
    monkeypatch.setattr(Spent, "_of", lambda self, line: read.append(line) or of(self, line))
    with budget_of(tmp_path, usd=100) as later:
        assert later.spent() == spent and read == []
        record(tmp_path, new)
        assert later.spent() == Amount(2, 2 * spent.usd) and len(read) == 1


def test_a_ledger_file_in_the_place_of_another_is_added_up_anew(tmp_path):
    known, new, *_ = questions()
    record(tmp_path, known)
    with budget_of(tmp_path, usd=100) as first:
        spent = first.spent()
    (path,) = tmp_path.rglob("ledger/**/*.jsonl")
    path.unlink()
    record(tmp_path, new, text="Yes, it does.", completion_tokens=3)  # as long as the other, or longer
    with budget_of(tmp_path, usd=100) as later:
        assert later.spent() == Amount(1, spent.usd + 2)


def test_sums_at_other_prices_or_torn_are_not_taken(tmp_path):
    (request, *_) = questions()
    with Ledger(tmp_path / "ledger", "predictions", "sae", 0, 9, Prices({})) as ledger:
        ledger.record(request, Answer("unpriced", "ok", prompt_tokens=10, cached_tokens=0, completion_tokens=2))
    with budget_of(tmp_path, usd=100) as known:
        spent = known.spent()
    (kept,) = (tmp_path / "budget").glob("spent.*")
    kept.write_bytes(kept.read_bytes()[:-9])
    with budget_of(tmp_path, usd=100) as torn:
        assert torn.spent() == spent
    dear = Prices({"model": Price(prompt=3e6, completion=2e6)})
    with budget_of(tmp_path, usd=100, prices=dear) as dearer:
        assert dearer.spent() == Amount(1, spent.usd + 20)


def test_an_unlimited_budget_touches_no_file(tmp_path):
    with budget_of(tmp_path) as budget:
        assert budget.reserve(questions()) == questions()
    assert not (tmp_path / "budget").exists()


def test_a_limit_in_dollars_wants_a_price_before_anything_is_sent(tmp_path):
    with Oracle(echo) as oracle:
        with pytest.raises(ConfigError, match="no price for model 'model'; add one"):
            asked(tmp_path, oracle, questions(), usd=5, prices=Prices({}))
        assert oracle.n_requests == 0


def test_it_is_spent_until_the_limit_that_stopped_it_is_raised(tmp_path):
    noted = tmp_path / "noted"
    today = {asked_as("model", PRICES, in_batch=False)}

    def stops(limits):
        with budget_of(tmp_path, usd=1e9) as budget:
            return is_spent(noted.read_bytes(), budget.spent(), limits, today)

    assert not is_spent(b"", Amount(9, 9.0), Limits(5), today)
    assert not is_spent(b'{"requests": 6, "usd": 9.0}', Amount(9, 9.0), Limits(5), today)  # as noted before
    with Oracle(echo) as oracle:
        asked(tmp_path, oracle, questions(), requests=5, usd=1e6)
        assert stops(Limits(5, 1e6))
        assert stops(Limits(5, 2e6))
        assert not stops(Limits(6, 1e6))
        assert not stops(Limits())
        asked(tmp_path, oracle, questions(), requests=12, usd=1e6)
    assert stops(Limits(12, 1e6)) and not stops(Limits(13, 1e6))


def test_what_a_dear_model_did_not_get_stops_no_free_one_and_none_after_a_price_fell(tmp_path):
    noted = tmp_path / "noted"
    spent, limits = Amount(40, 10.0), Limits(usd=10)
    with budget_of(tmp_path, usd=1e-9) as budget:
        assert budget.reserve(questions()) == []
    assert is_spent(noted.read_bytes(), spent, limits, {asked_as("model", PRICES, in_batch=False)})
    assert is_spent(noted.read_bytes(), Amount(40, 10.1), limits, set())
    cheap = Prices({"model": Price(prompt=1e-9, completion=1e-9)})
    for today in (set(), {asked_as("model", cheap, in_batch=False)}, {asked_as("model", PRICES, in_batch=True)}):
        assert not is_spent(noted.read_bytes(), spent, limits, today)


# Several processes ----------------------------------------------------------------------------------------

ASK = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path.cwd() / "tests"))
from llm.ledger.test_budget import *

folder, url, first, n_requests = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with open_ledger(folder, first) as ledger, budget_of(folder, requests=n_requests) as budget:
    client = client_of(url, None, max_concurrent=2)
    answers = ask(ledger, client, questions(40, first), budget=budget)
print(sum(answer.status == "ok" for answer in answers.values()), flush=True)
"""

HOLD = """
import sys, time
from pathlib import Path
sys.path.insert(0, str(Path.cwd() / "tests"))
from llm.ledger.test_budget import *

with budget_of(Path(sys.argv[1]), requests=5) as budget:
    print(len(budget.reserve(questions(4))), flush=True)
    time.sleep(60)
"""


def started(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_share_a_cap_and_reach_it_exactly(tmp_path):
    with Oracle(lambda body: Reply(echo(body), delay_seconds=0.005)) as oracle:
        runs = [started(ASK, tmp_path, oracle.base_url, first, 50) for first in (0, 100)]
        done = [int(run.communicate(timeout=60)[0]) for run in runs]
    assert sum(done) == oracle.n_requests == 50
    assert sorted(done)[1] == 40  # who came first got all it wanted
    assert budget_of(tmp_path).spent().requests == 50
    assert not list((tmp_path / "budget").glob("*-*.json"))


def test_what_a_living_process_reserved_is_taken_and_what_a_killed_one_did_is_void(tmp_path):
    with started(HOLD, tmp_path) as other:
        assert other.stdout.readline() == "4\n"
        with budget_of(tmp_path, requests=5) as budget:
            assert len(budget.reserve(questions(3, 10))) == 1
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
            assert len(budget.reserve(questions(9, 20))) == 4
    assert not list((tmp_path / "budget").glob("*-*.json"))


def test_a_process_of_the_same_number_on_another_host_has_a_reservation_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    with budget_of(tmp_path, requests=5) as one, budget_of(tmp_path, requests=5) as other:
        assert len(one.reserve(questions(4))) == 4
        assert len(other.reserve(questions(4, 10))) == 1
        assert len(one.reserve(questions(4, 20))) == 0
        assert len(list((tmp_path / "budget").glob("*-*.json"))) == 2


def test_the_budgets_of_one_process_count_each_other_on_a_network_filesystem(tmp_path, monkeypatch):
    """Locks of one process never exclude each other there: `flock` is a lock on the file's bytes."""
    monkeypatch.setattr(budget, "_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(budget.fcntl, "flock", lambda file, kind: None)
    with budget_of(tmp_path, requests=5) as explainer, budget_of(tmp_path, requests=5) as scorer:
        assert len(explainer.reserve(questions(4))) == 4
        assert len(scorer.reserve(questions(4, 10))) == 1
        assert len(list((tmp_path / "budget").glob("*-*.json"))) == 2
    assert budget._own_reserved == {}


def test_a_reservation_ends_when_its_answer_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "_WAIT_SECONDS", 0.1)
    with budget_of(tmp_path, requests=4) as one, budget_of(tmp_path, requests=4) as other:
        first, *_ = one.reserve(questions(3))
        record(tmp_path, first)
        assert len(other.reserve(questions(5, 10))) == 0  # recorded and reserved: counted twice for a moment
        one.settle([Answer(first.request_id, "ok")])
        assert len(other.reserve(questions(5, 10))) == 1


def test_what_is_reserved_is_told_as_answers_come_and_is_nothing_in_the_end(tmp_path):
    wanted = questions(30)
    with budget_of(tmp_path, usd=1e6) as one:
        one.reserve(wanted)
        bounds = [most_usd(PRICES.of("model"), each.messages, 5) for each in wanted]
        for number, each in enumerate(wanted, start=1):
            one.settle([Answer(each.request_id, "ok")])
            [told] = map(Path.read_bytes, (tmp_path / "budget").glob("*-*.json"))
            left = Amount(**json.loads(told))
            assert (left.requests, left.usd) == (30 - number, pytest.approx(sum(bounds[number:])))
        assert left == Amount()


@pytest.mark.parametrize("times", [1.05, 1.2, 2, 3, 6])
def test_batches_of_a_day_are_few_where_the_budget_is_near_what_they_cost(tmp_path, times):
    """870 tokens of 3,480 bytes, and 36 of at most 100 tokens written: the bound is some six times the cost."""
    prices = Prices({"model": Price(prompt=0.15, completion=0.6)})
    text = "the cat sat on a mat and so it goes on here " * 79
    messages = [(Message("user", f"{text}{number}"),) for number in range(400)]
    requests = [Request("explain", "sae", 0, "model", each, max_tokens=100) for each in messages]
    sent = []

    class Provider:
        def answer(self, requests):
            sent.append(len(requests))
            used = {"prompt_tokens": 870, "completion_tokens": 36, "batch_id": "b", "attempts": 1}
            yield [Answer(each.request_id, "ok", "cats", **used) for each in requests]

    usd = times * 400 * prices.usd("model", 870, 36, in_batch=True)
    with (
        Budget(
            Spent(tmp_path / "ledger", prices, tmp_path / "budget"), Limits(usd=usd), prices, in_batch=True
        ) as budget,
        Ledger(tmp_path / "ledger", "explanations", "sae", 0, 9, prices) as ledger,
    ):
        answers = ask(ledger, Provider(), requests, budget=budget)
        assert budget.spent().usd <= usd
    assert len(sent) <= 3
    assert sum(each.status == "ok" for each in answers.values()) >= 398


def test_what_a_process_does_not_use_is_free_when_it_ends(tmp_path):
    with budget_of(tmp_path, requests=4) as one:
        one.reserve(questions(4))
    with budget_of(tmp_path, requests=4) as other:
        assert len(other.reserve(questions(4))) == 4
