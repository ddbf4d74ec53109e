"""A lake in an object store: what is published, fetched and sealed, by the machines that share it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest
from test_lake import token_rows
from tiny import hand_set_entry, write_hand_set_sae

from pipeline.config import LAKE_VARIABLE, Config
from pipeline.config.machine import CACHE_VARIABLE
from pipeline.errors import LakeError
from pipeline.lake import LEDGER_FOLDER, Lake, objects, open_catalog
from pipeline.lake.carrying import carry_over
from pipeline.lake.leases import _take
from pipeline.llm.ledger.answers import Ledger
from pipeline.llm.provider_batches.journal import Journal
from pipeline.llm.requests import Answer, Message, Request
from pipeline.sources import SOURCES_FILE, fix_sources, fixing, open_sources
from pipeline.tables import TABLES
from pipeline.tables.versions import SourceHashes

LAKES = "memory://bucket/lakes"
URL = f"{LAKES}/tiny"
DAY = 86_400


@pytest.fixture
def machine(
    make_experiment: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Lake]]:
    """The experiment's lake as the machine of a name has it, each in a folder of its own."""
    config = make_experiment()
    monkeypatch.setenv(LAKE_VARIABLE, LAKES)
    monkeypatch.setattr(objects, "_LOOK_SECONDS", -1.0)

    def open_on(name: str) -> Lake:
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / name))
        return Lake(config, SourceHashes())

    yield open_on
    fsspec.filesystem("memory").store.clear()


def texts(lake: Lake) -> list[tuple[Any, ...]]:
    with lake.connect(tables=["tokens"]) as connection:
        return connection.sql("select text, count(*) from tokens group by text").fetchall()


def keys() -> list[str]:
    return fsspec.filesystem("memory").find("/bucket")


def question(number: int) -> Request:
    return Request("detection", "hand-set", number, "model", (Message("user", f"question {number}"),), 5)


def answer(request: Request) -> Answer:
    return Answer(request.request_id, "ok", "Yes", requested_at="2026-01-01T00:00:00.000+00:00")


def ledger(lake: Lake, first: int = 0, last: int = 9) -> Ledger:
    folder = lake.root / LEDGER_FOLDER
    lake.fetched_lines(folder / "predictions" / "hand-set")
    assert lake.objects is not None
    return Ledger(folder, "predictions", "hand-set", first, last, seal=lake.objects.journals.seal)


def test_what_one_machine_withdraws_is_there_for_none_until_it_is_written_again(machine: Any) -> None:
    one, other = machine("one"), machine("other")
    rows, batch = TABLES["score_details"].schema.empty_table(), {"sae": "hand-set", "batch": 0}
    one.write("score_details", rows, **batch)
    assert other.path("score_details", **batch).exists() and other.has("score_details", **batch)
    one.withdraw("score_details", **batch)
    assert not one.has("score_details", **batch) and not other.has("score_details", **batch)
    assert not one.path("score_details", **batch).exists()
    other.write("score_details", rows, **batch)
    assert one.has("score_details", **batch) and one.path("score_details", **batch).exists()


def test_lakes_at_two_urls_share_no_local_folder(make_experiment, tmp_path, monkeypatch):
    config = make_experiment()
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = set()
    for url in ("s3://team/a-b", "s3://team/a/b"):
        for endpoint in ("http://one:9000", "http://other:9000"):
            monkeypatch.setenv(LAKE_VARIABLE, url)
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            folders.add(config.lake_folder)
    assert len(folders) == 4
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "given"))
    monkeypatch.setenv(LAKE_VARIABLE, "memory://one")
    assert Lake(config, SourceHashes()).root == tmp_path / "given" / "tiny"
    monkeypatch.setenv(LAKE_VARIABLE, "memory://other")
    with pytest.raises(LakeError, match=f"this machine's copy of lake 'memory://one/tiny'.*{CACHE_VARIABLE}"):
        Lake(config, SourceHashes())


def test_what_one_machine_writes_another_has(machine):
    a, b = machine("a"), machine("b")
    assert not b.has("tokens")
    a.write("tokens", token_rows("old"))
    assert b.has("tokens") and not list(b.root.rglob("all.parquet"))  # to know of it fetches nothing
    assert texts(b) == [("old", 200)]
    a.write("tokens", token_rows("new", 50))
    assert texts(b) == texts(a) == [("new", 50)]
    assert b.path("tokens").read_bytes() == a.path("tokens").read_bytes()


def test_a_folder_comes_whole_and_as_it_is(machine):
    a, b = machine("a"), machine("b")
    target = a.path("activations", sae="hand-set")
    with a.writing(target) as folder:
        folder.mkdir()
        for name in ("00000.parquet", "00001.parquet"):
            (folder / name).write_text(name)
    assert {path.name: path.read_text() for path in b.path("activations", sae="hand-set").iterdir()} == {
        "00000.parquet": "00000.parquet",
        "00001.parquet": "00001.parquet",
    }


def test_what_is_there_is_not_fetched_again(machine, monkeypatch):
    a, b = machine("a"), machine("b")
    a.write("tokens", token_rows("old"))
    assert texts(b) == [("old", 200)]

    def fetched(*_: Any) -> None:
        raise AssertionError("fetched again")

    monkeypatch.setattr(objects.Objects, "copy_to", fetched)
    assert texts(a) == texts(b) == [("old", 200)]


@pytest.mark.parametrize("call", ["put", "pipe_file"])
def test_a_store_that_takes_no_more_leaves_what_was(machine, monkeypatch, call):
    a, b = machine("a"), machine("b")
    a.write("tokens", token_rows("old"))

    def full(*_: Any, **__: Any) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(a.objects.filesystem, call, full)
        with pytest.raises(LakeError, match="cannot be reached"):
            a.write("tokens", token_rows("new"))
    assert texts(a) == texts(b) == [("old", 200)]
    a.write("tokens", token_rows("new"))
    assert texts(a) == texts(b) == [("new", 200)]


def test_of_two_that_publish_at_once_one_is_the_last_and_whole(machine):
    a, b = machine("a"), machine("b")
    target = a.path("activations", sae="hand-set")
    with a.writing(target) as first, b.writing(b.path("activations", sae="hand-set")) as second:
        for folder, text in ((first, "a"), (second, "b")):
            folder.mkdir()
            for name in ("0.parquet", "1.parquet"):
                (folder / name).write_text(text)
    folders = [each.path("activations", sae="hand-set") for each in (a, b, machine("c"))]
    seen = [{path.read_text() for path in folder.iterdir()} for folder in folders]
    assert seen[0] == seen[1] == seen[2] and len(seen[0]) == 1


def test_sources_are_fixed_for_all_machines(machine):
    a = machine("a")
    hashes = fix_sources(a.config)
    machine("b")
    assert fix_sources(a.config) == hashes
    assert sum(f"/{SOURCES_FILE}/" in key and "/versions/" in key for key in keys()) == 1


def test_what_another_machine_records_while_this_one_reads_is_kept(
    machine, make_experiment, tmp_path, monkeypatch
):
    monkeypatch.setattr(objects, "_LOOK_SECONDS", 60.0)
    config = machine("a").config
    fix_sources(config)
    more = hand_set_entry(write_hand_set_sae(tmp_path / "more", scale=2.0), "more")
    other = make_experiment(saes=[hand_set_entry(tmp_path / "sae"), more])
    (tmp_path / "corpus" / "more.txt").write_text("more " * 50)
    compare, begun = fixing._compare, []

    def compare_while_b_runs(*arguments: Any, **switches: Any) -> SourceHashes:
        hashes = compare(*arguments, **switches)
        if not begun:
            begun.append(machine("b"))
            fix_sources(config, takes_new=True)
            machine("a")
        return hashes

    monkeypatch.setattr(fixing, "_compare", compare_while_b_runs)
    hashes = fix_sources(other)
    machine("c")
    assert open_sources(other) == hashes and hashes.saes["more"] and len(hashes.generations) == 1


def test_what_was_just_published_is_there_though_a_listing_had_begun_before(machine, monkeypatch):
    monkeypatch.setattr(objects, "_LOOK_SECONDS", 60.0)
    lake = machine("a")
    store = lake.objects
    listed, has_listed, may_end = store.list_keys, threading.Event(), threading.Event()

    def list_slowly(below: str) -> dict[str, int]:
        found = listed(below)
        if threading.current_thread() is asking:
            has_listed.set()
            may_end.wait(1)
        return found

    monkeypatch.setattr(store, "list_keys", list_slowly)
    asking = threading.Thread(target=lambda: lake.has("tokens"))
    asking.start()
    has_listed.wait()
    lake.write("tokens", token_rows("new"))
    may_end.set()
    asking.join()
    assert lake.has("tokens")


def test_temporary_files_stay_on_the_machine(machine):
    lake = machine("a")
    with lake.resumable("long") as folder, lake.writing(folder / "part.parquet") as temporary:
        temporary.touch()
    assert not any("part" in key for key in fsspec.filesystem("memory").find("/bucket"))


def test_answers_that_one_machine_paid_for_are_replayed_on_another(machine):
    a, b = machine("a"), machine("b")
    with ledger(a) as own:
        own.record(question(1), answer(question(1)))
    with ledger(a) as own:
        own.record(question(2), answer(question(2)))
    with ledger(b, 0, 99) as other:
        assert other.replay(question(1)) and other.replay(question(2))
        other.record(question(3), answer(question(3)))
    with ledger(a) as own:
        assert [number for number in range(5) if own.replay(question(number))] == [1, 2, 3]
    for lake in (a, b):
        with lake.connect(tables=["llm_requests"]) as connection:
            assert connection.sql("select count(*), count(distinct request_id) from llm_requests").fetchall() == [
                (3, 3)
            ]
    lines = b"".join(path.read_bytes() for path in (b.root / LEDGER_FOLDER).rglob("*.jsonl"))
    assert lines.count(b"\n") == 3  # a sum over them counts each answer once


def test_lines_are_sealed_while_answers_come(machine, monkeypatch):
    monkeypatch.setattr("pipeline.llm.ledger.answers._SEAL_SECONDS", -1.0)
    a, b = machine("a"), machine("b")
    with ledger(a) as own:
        own.record(question(1), answer(question(1)))
        own.record(question(2), answer(question(2)))
        with ledger(b) as other:
            assert other.replay(question(1)) and other.replay(question(2))


def test_lines_that_a_kill_has_left_are_sealed_by_the_next_run(machine):
    a, b = machine("a"), machine("b")
    folder = a.root / LEDGER_FOLDER
    with Ledger(folder, "predictions", "hand-set", 0, 9) as own:
        own.record(question(1), answer(question(1)))
        a.objects.journals.seal_left_over()  # leaves alone what a process is writing
        assert not any("/lines/" in key for key in keys())
    with own.path.open("ab") as journal:
        journal.write(b'{"torn')
    a.objects.journals.seal_left_over()
    a.objects.journals.seal_left_over()
    assert sum("/lines/" in key for key in keys()) == 1
    with ledger(b) as other:
        assert other.replay(question(1))


def test_a_providers_batch_that_one_machine_sent_is_waited_for_on_another(machine):
    a, b = machine("a"), machine("b")
    with ledger(a) as own:
        journal = Journal(own)
        sent, begun = journal.end(journal.begin(["one", "two"]), "batch_7"), journal.begin(["three"])
        # And then the machine is lost: its ledger is not closed.
        with ledger(b, 0, 99) as other:
            assert Journal(other).holding(["one", "two"]) == [sent]
            assert Journal(other).holding(["three"]) == [begun]
            Journal(other).end(begun, "batch_8")
            own_of_b = Journal(other).begin(["four"])
        with ledger(b) as other:
            found = Journal(other).holding(["one", "two", "three", "four"])
    assert {each.batch_id for each in found} == {"batch_7", "batch_8", None}
    a.fetched_lines(a.root / LEDGER_FOLDER / "predictions" / "hand-set")
    with ledger(a) as own:
        assert Journal(own).holding(["four"]) == [own_of_b]


def test_notes_about_a_batch_that_a_kill_has_left_are_sealed_unless_its_ledger_is_open(machine):
    a, b = machine("a"), machine("b")
    with Ledger(a.root / LEDGER_FOLDER, "predictions", "hand-set", 0, 9) as own:
        sent = Journal(own).begin(["one"])
        a.objects.journals.seal_left_over()
        assert not any("/lines/" in key for key in keys())
    a.objects.journals.seal_left_over()
    with ledger(b) as other:
        assert Journal(other).holding(["one"]) == [sent]


def test_a_journal_that_was_cut_is_told(machine):
    lake = machine("a")
    with ledger(lake) as own:
        for number in range(3):
            own.record(question(number), answer(question(number)))
    first, _, _ = own.path.read_bytes().partition(b"\n")
    own.path.write_bytes(first + b"\n")
    with pytest.raises(LakeError, match="shorter than its copy in lake"):
        lake.objects.journals.seal_left_over()


def test_a_reader_at_the_url_sees_one_version_whatever_is_published(machine):
    lake = machine("a")
    lake.write("tokens", token_rows("old"))
    lake.refresh_catalog()
    with ledger(lake) as own:
        own.record(question(1), answer(question(1)))
    count = "select text, count(*) from tokens group by text"
    with open_catalog(URL) as before:
        lake.write("tokens", token_rows("new"))
        assert before.sql(count).fetchall() == [("old", 200)]
        assert before.sql("from documents").fetchall() == []
        assert before.sql("select response from llm_requests").fetchall() == [("Yes",)]
    with open_catalog(URL) as after:
        assert after.sql(count).fetchall() == [("new", 200)]
    with pytest.raises(LakeError, match=f"no lake at '{LAKES}/other'"):
        open_catalog(f"{LAKES}/other")


def test_a_lake_is_read_at_a_url_of_any_characters(machine, monkeypatch):
    lakes = "memory://bucket/somebody's [old] lakes?"
    monkeypatch.setenv(LAKE_VARIABLE, lakes)
    lake = machine("a")
    lake.write("tokens", token_rows("odd"))
    lake.refresh_catalog()
    with open_catalog(f"{lakes}/tiny") as reader:
        assert reader.sql("select distinct text from tokens").fetchall() == [("odd",)]


def test_cleaning_keeps_what_a_reader_may_still_see_for_a_day(machine, monkeypatch):
    lake = machine("a")
    lake.write("tokens", token_rows("old"))
    lake.refresh_catalog()
    lake.write("tokens", token_rows("new"))
    lake.objects.filesystem.pipe_file(f"/bucket/lakes/tiny/data/tokens/x/000001-{time.time_ns()}-00000000/a", b"")
    assert lake.clean() == []
    later = time.time() + 2 * DAY
    monkeypatch.setattr(time, "time", lambda: later)
    removed = {path.as_posix().partition("/")[0] for path in lake.clean()}
    assert removed == {"data", "versions"}
    assert texts(machine("b")) == [("new", 200)]
    assert lake.clean() == []


def leases() -> list[str]:
    return [key for key in keys() if "/leases/" in key]


def test_a_partition_is_made_on_one_machine_at_a_time(machine, monkeypatch):
    monkeypatch.setattr("pipeline.lake.leases._LEASE_SECONDS", 0.3)
    monkeypatch.setattr("pipeline.lake.leases._LOOK_SECONDS", 0.02)
    a, b = machine("a"), machine("b")
    with a.alone("scores", waits=False, sae="x", batch=1):
        with pytest.raises(LakeError, match="another machine is already making 'scores sae x batch 1'"):
            b.alone("scores", waits=False, sae="x", batch=1).__enter__()
        with b.alone("scores", waits=False, sae="x", batch=2):
            pass
    with ThreadPoolExecutor() as threads, ExitStack() as b_holds:
        b_holds.enter_context(b.alone("scores", waits=False, sae="x", batch=1))
        order: list[str] = []

        def wait() -> None:
            with a.alone("scores", waits=True, sae="x", batch=1):
                order.append("a")

        threads.submit(wait)
        time.sleep(0.6)  # longer than a lease, which is renewed
        order.append("b")
        b_holds.close()
    assert order == ["b", "a"] and len(leases()) == 2


def test_the_lease_of_a_killed_run_ends_and_that_of_the_same_folder_at_once(machine, monkeypatch):
    a, b = machine("a"), machine("b")
    for number in (1, 2):  # never renewed, and never given up
        assert _take(a.objects, "scores", waits=False).endswith(f"/{number:08d}")
    monkeypatch.setattr("pipeline.lake.leases._LEASE_SECONDS", 0.2)
    monkeypatch.setattr("pipeline.lake.leases._LOOK_SECONDS", 0.02)
    assert _take(b.objects, "scores", waits=False).endswith("/00000003")
    assert len(leases()) == 1


def test_a_lake_in_a_folder_asks_no_store(make_experiment):
    config = make_experiment()
    assert config.lake_url is None and Lake(config, SourceHashes()).objects is None


def test_the_local_folder_is_named_after_the_url(make_experiment, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = make_experiment(machine={"lake": "s3://bucket/some/lakes/"})
    assert config.lake_url == "s3://bucket/some/lakes/tiny"
    folder = config.lake_folder
    assert (folder.parents[1], folder.name) == (tmp_path / "latentlake", "tiny")
    assert folder.parent.name.startswith("s3-bucket-some-lakes-")


@pytest.mark.parametrize(
    ("url", "words"), [("nothing://bucket", "URL scheme that fsspec"), ("abfs://bucket", "not installed")]
)
def test_a_url_that_cannot_be_opened_is_told(make_experiment, url, words):
    with pytest.raises(LakeError, match=words):
        Lake(make_experiment(machine={"lake": url}), SourceHashes())


def test_what_was_bought_before_the_corpus_grew_is_there_on_every_machine(machine):
    a = machine("a")
    a.write("examples", TABLES["examples"].schema.empty_table(), sae="hand-set", batch=0)
    machine("b")
    grown = Lake(a.config, SourceHashes(generations=("more",)))
    assert not grown.has("examples", sae="hand-set", batch=0)
    carry_over(grown)
    machine("c")
    assert Lake(a.config, SourceHashes(generations=("more",))).path("examples", sae="hand-set", batch=0).exists()
    before = keys()
    carry_over(grown)
    assert keys() == before


def test_what_was_withdrawn_is_not_carried_over_again(machine):
    """A batch that is made again has no scores of before, even if the run is killed and goes on later."""
    first, batch = machine("a"), {"sae": "hand-set", "batch": 0}
    first.write("score_details", TABLES["score_details"].schema.empty_table(), **batch)
    grown = Lake(first.config, SourceHashes(generations=("more",)))
    carry_over(grown)
    assert grown.has("score_details", **batch)
    grown.withdraw("score_details", **batch)
    carry_over(grown)
    assert not grown.has("score_details", **batch)
