"""The ledger: what was recorded is there again, whatever happened in between."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from unittest.mock import Mock

import duckdb
import pytest

from llm import client_of
from llm.oracle import Oracle, Reply, last_message
from pipeline.errors import LakeError, sentence_of
from pipeline.llm import Answer, Ledger, Message, Request, ask
from pipeline.llm.ledger import answers
from pipeline.llm.ledger.answers import ReadLedger
from pipeline.llm.ledger.files import last_lines


def question(number=0, **changes):
    request = Request("detection", "sae", 3, "model", (Message("user", f"question {number}"),), max_tokens=5)
    return replace(request, **changes)


def answered(request, **changes):
    answer = Answer(
        request_id=request.request_id,
        status="ok",
        text="Yes\n« naïve »",
        probabilities={"Yes": 0.75, "No": 0.25},
        resolved_model="model-2026",
        finish_reason="stop",
        attempts=2,
        prompt_tokens=10,
        cached_tokens=None,
        completion_tokens=1,
        duration_ms=12,
        requested_at="2026-01-01T00:00:00.000+00:00",
    )
    return replace(answer, **changes)


def record(folder, request, *, first=0, last=9, **changes):
    with Ledger(folder, "predictions", "sae", first, last) as ledger:
        ledger.record(request, answered(request, **changes))


def test_an_answer_comes_back_as_it_was(tmp_path):
    record(tmp_path, question())
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question()) == answered(question())
        assert ledger.replay(question(1)) is None
    assert (tmp_path / "predictions" / "sae" / "0-9.jsonl").read_bytes().count(b"\n") == 1


RECORDED = {"purpose": "fuzzing", "sae": "other", "feature": 4, "repeats": "an earlier one"}
ASKED = {
    "model": "another",
    "messages": (Message("system", "question 0"),),
    "max_tokens": 6,
    "temperature": 0.5,
    "choices": ("Yes", "No"),
    "stop": ("\n",),
    "draw": 1,
    "schema": {"type": "object"},
    "reasoning_tokens": 9,
    "reasoning_effort": "low",
    "keys": ("1", "2"),
    "blank": "unknown",
}


def test_a_request_is_known_by_what_is_asked_and_not_by_what_for():
    assert {*RECORDED, *ASKED} == {field.name for field in fields(Request)}, "every field is one or the other"
    assert question(temperature=0, **RECORDED).request_id == question().request_id
    others = [question(**{name: value}) for name, value in ASKED.items()] + [question(schema={"type": "array"})]
    assert len({question().request_id, *(other.request_id for other in others)}) == len(others) + 1
    # Fixed for good: a ledger outlives the code.
    assert question().request_id == "71666a758ff84449b92998afef2b0030"
    assert question(**ASKED).request_id == "0fd65e8df8d0677a6426923c1a978277"


def test_the_schema_is_in_the_record_and_the_order_of_its_keys_is_not_in_the_id(tmp_path):
    one = question(schema={"type": "object", "required": []})
    assert one.request_id == question(schema={"required": [], "type": "object"}).request_id
    record(tmp_path, one)
    line = json.loads((tmp_path / "predictions" / "sae" / "0-9.jsonl").read_text(encoding="utf-8"))
    assert line["parameters"]["schema"] == one.schema


@pytest.mark.parametrize("status", ["refused", "truncated", "too_long"])
def test_what_the_model_answered_is_replayed_though_it_is_of_no_use(tmp_path, status):
    record(tmp_path, question(), status=status, text=None)
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question()).status == status


@pytest.mark.parametrize("status", ["http_error", "budget"])
def test_a_failure_of_the_transport_is_asked_again_and_its_success_wins(tmp_path, status):
    record(tmp_path, question(), status=status, text=None, error="HTTP 500")
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question()) is None
        ledger.record(question(), answered(question()))
        assert ledger.replay(question()).status == "ok"
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question()).status == "ok"


@pytest.mark.parametrize("torn", [b'{"request_id": "ab', b"\xff\xfe", b'"a string"\n', b"[1]\n", b"{}\n", b"\n"])
def test_a_line_that_is_torn_costs_only_itself(tmp_path, torn):
    record(tmp_path, question(0))
    path = tmp_path / "predictions" / "sae" / "0-9.jsonl"
    with path.open("ab") as file:
        file.write(torn)
    record(tmp_path, question(1))
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question(0)) == answered(question(0))
        assert ledger.replay(question(1)) == answered(question(1))


def test_a_last_line_without_a_newline_is_used_and_not_written_into(tmp_path):
    record(tmp_path, question(0))
    path = tmp_path / "predictions" / "sae" / "0-9.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    record(tmp_path, question(1))
    assert [json.loads(line)["draw"] for line in path.read_text().splitlines()] == [0, 0]
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question(0)) and ledger.replay(question(1))


def test_another_batch_size_reads_the_files_that_overlap(tmp_path):
    for number, (first, last) in enumerate([(0, 9), (10, 19), (20, 29), (30, 39)]):
        record(tmp_path, question(number), first=first, last=last)
    with Ledger(tmp_path, "predictions", "sae", 15, 29) as ledger:
        found = [ledger.replay(question(number)) is not None for number in range(4)]
    assert found == [False, True, True, False]
    with Ledger(tmp_path, "explanations", "sae", 0, 39) as ledger:
        assert ledger.replay(question(1)) is None


def test_the_later_of_two_files_wins(tmp_path):
    record(tmp_path, question(), first=0, last=9, requested_at="2026-01-02T00:00:00.000+00:00", text="later")
    record(tmp_path, question(), first=0, last=19, requested_at="2026-01-01T00:00:00.000+00:00", text="earlier")
    for first, last in [(0, 9), (0, 19), (5, 6)]:
        with Ledger(tmp_path, "predictions", "sae", first, last) as ledger:
            assert ledger.replay(question()).text == "later"


def test_a_second_run_on_the_batch_is_refused_in_one_sentence(tmp_path):
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as held:
        with pytest.raises(LakeError, match=r"0-9\.jsonl' is in use by another run"):
            Ledger(tmp_path, "predictions", "sae", 0, 9).__enter__()
        with Ledger(tmp_path, "predictions", "sae", 10, 19):
            pass
        held.record(question(), answered(question()))
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question())


def test_a_filesystem_without_locks_is_not_taken_for_another_run(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="not implemented") as raised:
        Ledger(tmp_path, "predictions", "sae", 0, 9).__enter__()
    assert "does not lock files" in sentence_of(raised.value)


@pytest.mark.parametrize("other", [(0, 19), (5, 14), (3, 4)])
def test_a_run_with_batches_of_another_size_that_overlap_is_refused_in_one_sentence(tmp_path, other):
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as held:
        with pytest.raises(LakeError, match=r"/0-9\.jsonl' is in use by another run on some of the same features"):
            Ledger(tmp_path, "predictions", "sae", *other).__enter__()
        held.record(question(), answered(question()))
    with Ledger(tmp_path, "predictions", "sae", *other) as ledger:
        assert ledger.replay(question())
        with pytest.raises(LakeError, match="is in use by another run"):
            Ledger(tmp_path, "predictions", "sae", 0, 9).__enter__()


def test_batches_that_read_the_same_file_of_an_earlier_size_go_on_beside_each_other(tmp_path):
    record(tmp_path, question(), first=0, last=19)
    with (
        Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger,
        Ledger(tmp_path, "predictions", "sae", 10, 19) as beside,
    ):
        assert ledger.replay(question()) and beside.replay(question())


def test_a_ledger_that_is_not_open_records_nothing(tmp_path):
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        pass
    with pytest.raises(LakeError, match="is not open"):
        ledger.record(question(), answered(question()))


def test_the_last_lines_are_those_of_the_latest_files_of_each_table(tmp_path):
    for number, (table, name) in enumerate([("a", "0-9"), ("a", "10-19"), ("b", "0-9"), ("a", "20-29")]):
        path = tmp_path / table / "sae" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{table} {name} line {line}\n" for line in range(10)))
        os.utime(path, (number, number))
    size = path.stat().st_size
    lines = b"".join(last_lines(tmp_path, size + size // 2)).decode().splitlines()
    kept = [line for line in lines if line.startswith("a")]
    assert kept[:10] == [f"a 20-29 line {line}" for line in range(10)]
    assert kept[10:] == [f"a 10-19 line {line}" for line in range(6, 10)]
    assert sum(line.startswith("b") for line in lines) == 10
    assert list(last_lines(tmp_path / "none", 100)) == []


def test_threads_record_whole_lines(tmp_path):
    requests = [question(number) for number in range(200)]
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda request: ledger.record(request, answered(request)), requests))
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert all(ledger.replay(request) for request in requests)


def test_half_a_surrogate_pair_does_not_lose_an_answer(tmp_path):
    record(tmp_path, question(), text="half \ud83d of it")
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question()).text == "half ? of it"


def test_sql_reads_the_columns_of_llm_requests_beside_a_torn_line(tmp_path):
    record(tmp_path, question(choices=("Yes", "No")))
    path = tmp_path / "predictions" / "sae" / "0-9.jsonl"
    with path.open("ab") as file:
        file.write(b'{"request_id": "ab')
    rows = duckdb.sql(
        f"""
        select * from read_json(
            '{path}', format = 'newline_delimited', ignore_errors = true,
            columns = {{
                request_id: 'varchar', purpose: 'varchar', feature: 'integer', status: 'varchar',
                messages: 'struct(role varchar, content varchar)[]', response: 'varchar',
                parameters: 'struct(max_tokens integer, temperature double, choices varchar[])',
                probabilities: 'map(varchar, double)', cost_usd: 'double', requested_at: 'timestamptz',
                draw: 'integer', attempts: 'integer', duration_ms: 'bigint'
            }}
        ) where request_id is not null
        """
    ).fetchall()
    [row] = rows
    assert row[1:4] == ("detection", 3, "ok")
    assert row[4] == [{"role": "user", "content": "question 0"}]
    assert row[5] == "Yes\n« naïve »"
    assert row[6] == {"max_tokens": 5, "temperature": 0.0, "choices": ["Yes", "No"]}
    assert row[7] == {"Yes": 0.75, "No": 0.25}
    assert row[8] is None and row[9] is not None


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path.cwd() / "tests"))
from llm import client_of
from pipeline.llm import Ledger, Message, Request, ask

requests = [Request("detection", "sae", 3, "model", (Message("user", f"question {n}"),), 5) for n in range(40)]
with Ledger(Path(sys.argv[1]), "predictions", "sae", 0, 9) as ledger:
    client = client_of(sys.argv[2], None, max_concurrent=2)
    ask(ledger, client, requests, on_answer=lambda answer: print(answer.request_id, flush=True))
"""


def test_a_run_killed_in_the_middle_loses_nothing_and_asks_nothing_twice(tmp_path):
    with Oracle(lambda body: Reply("Yes", delay_seconds=0.02)) as oracle:
        arguments = [sys.executable, "-c", textwrap.dedent(RUN), str(tmp_path), oracle.base_url]
        root = Path(__file__).parents[3]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=root, text=True) as run:
            used = [run.stdout.readline().strip() for _ in range(10)]
            os.kill(run.pid, signal.SIGKILL)
            used += run.stdout.read().split()
        assert len(used) < 40

        asked_before = {last_message(body) for body in oracle.requests}
        oracle.requests.clear()
        requests = [question(number) for number in range(40)]
        with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
            recorded = [request for request in requests if ledger.replay(request)]
            assert {request.request_id for request in recorded} >= set(used)
            answers = ask(ledger, client_of(oracle.base_url, None), requests)
        asked_again = [last_message(body) for body in oracle.requests]

    assert {answer.status for answer in answers.values()} == {"ok"} and len(answers) == 40
    assert sorted(asked_again) == sorted(
        request.messages[0].content for request in requests if request not in recorded
    )
    # Bought twice: at most what was under way, or had come and was not yet recorded.
    assert len(asked_before & set(asked_again)) <= 5


# Several processes, full disks, groups ---------------------------------------------------------------------


def test_a_failure_never_takes_the_place_of_an_answer_that_was_paid_for(tmp_path):
    record(tmp_path, question(), first=0, last=19, requested_at="2026-01-01T00:00:00.000+00:00")
    record(tmp_path, question(), status="http_error", text=None, requested_at="2026-01-02T00:00:00.000+00:00")
    for first, last in [(0, 9), (0, 19), (5, 6)]:
        with Ledger(tmp_path, "predictions", "sae", first, last) as ledger:
            assert ledger.replay(question()) == answered(question())


def test_a_group_is_synced_once(tmp_path, monkeypatch):
    synced = []
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        monkeypatch.setattr(os, "fsync", synced.append)
        ledger.record_all([(question(number), answered(question(number))) for number in range(50)])
        assert len(synced) == 1
        assert all(ledger.replay(question(number)) for number in range(50))
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert all(ledger.replay(question(number)) for number in range(50))


def test_answers_that_come_together_share_a_sync_and_none_is_used_before(tmp_path, monkeypatch):
    synced, used, real = [], [], os.fsync

    def sync(handle):
        real(handle)
        synced.append((tmp_path / "predictions" / "sae" / "0-9.jsonl").read_text())

    class Together:
        def answer(self, requests):
            yield [answered(request) for request in requests[:200]]
            yield [answered(request) for request in requests[200:]]

    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        monkeypatch.setattr(os, "fsync", sync)

        def use(answer):
            assert answer.request_id in synced[-1]
            used.append(answer)

        ask(ledger, Together(), [question(number) for number in range(300)], on_answer=use)
    assert len(used) == 300 and len(synced) == 2


def test_a_disk_that_is_full_stops_the_run_and_spoils_only_the_line_that_it_tore(tmp_path):
    class Full:
        """Takes ten bytes and then no more, once."""

        def __init__(self, file):
            self.file, self.left = file, [10, None]

        def write(self, data):
            if self.left:
                most = self.left.pop(0)
                if most is None:
                    raise OSError(28, "No space left on device")
                return self.file.write(data[:most])
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        ledger._file = Full(ledger._file)
        with pytest.raises(LakeError, match="cannot be written: No space left"):
            ledger.record(question(0), answered(question(0)))
        assert ledger.replay(question(0)) is None
        ledger.record(question(1), answered(question(1)))
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        assert ledger.replay(question(0)) is None and ledger.replay(question(1))


def test_a_store_that_does_not_answer_for_a_while_ends_no_asking(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "_SEAL_SECONDS", -1.0)
    failures = [LakeError("the store cannot be reached")] * 2
    with Ledger(tmp_path, "predictions", "sae", 0, 9, seal=Mock(side_effect=[*failures, None])) as ledger:
        for number in range(2):
            ledger.record(question(number), answered(question(number)))
    assert ledger.seal.call_count == 3
    with (
        pytest.raises(LakeError, match="cannot be reached"),
        Ledger(tmp_path, "predictions", "sae", 0, 9, seal=Mock(side_effect=failures)),
    ):
        pass  # at the end it must have what was paid for


def test_what_cannot_be_recorded_ends_the_asking(tmp_path):
    with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger, Oracle() as oracle:
        ledger._file.close()
        ledger._file = None
        with pytest.raises(LakeError, match="is not open"):
            ask(ledger, client_of(oracle.base_url, None), [question(number) for number in range(50)])


def test_a_file_is_read_while_another_process_writes_it(tmp_path):
    writing = textwrap.dedent(
        f"""
        import sys
        sys.path[:0] = {[str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]!r}
        from pathlib import Path
        from llm.ledger.test_answers import answered, question
        from pipeline.llm import Ledger
        with Ledger(Path(sys.argv[1]), "predictions", "sae", 0, 9) as ledger:
            for number in range(100_000):
                ledger.record(question(number), answered(question(number)))
                print(number, flush=True)
        """
    )
    command = [sys.executable, "-c", writing, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(5):
            n_recorded = [int(process.stdout.readline()) for _ in range(20)][-1] + 1
            with ReadLedger(tmp_path, "predictions", "sae", 0, 19) as ledger:
                assert all(ledger.replay(question(number)) for number in range(n_recorded))
        process.kill()
