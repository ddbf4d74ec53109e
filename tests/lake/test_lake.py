"""The lake: whole writes, versions by hash, views that always answer."""

import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import hand_set_entry, write_corpus, write_experiment, write_hand_set_sae, write_random_sae

from pipeline.commands.sql import answer_statements
from pipeline.config import UNHASHED, Config, load_config
from pipeline.errors import ConfigError, LakeError
from pipeline.explore.statement import answer
from pipeline.lake import CATALOG_FILE, SCHEMA_FILE, Lake, is_writable, open_catalog, publishing
from pipeline.lake.catalog import copy_views
from pipeline.plugins import find_plugins
from pipeline.show.notebook import OpenLake
from pipeline.sources import fix_sources, open_sources
from pipeline.tables import TABLES, definitions
from pipeline.tables.macros import full_text
from pipeline.tables.sql import config_value, parameters_of
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import SourceHashes, Versions

REPOSITORY = Path(__file__).parents[2]
OF_THE_CORPUS = ("documents", "tokens", "contexts", "slots")
BY_SAE = tuple(name for name, table in TABLES.items() if table.partition.startswith("sae"))


def token_rows(label: str, n_rows: int = 200) -> pa.Table:
    """Rows for the table `tokens`, all with one text."""
    return pa.table(
        {
            "token_id": range(n_rows),
            "text": [label] * n_rows,
            "bytes": [label.encode()] * n_rows,
            "is_special": [False] * n_rows,
        }
    )


MEAN_OF_IDS = "select exact_mean(token_id) from tokens"
"""By a macro, which is in the catalog too."""


def seen_texts(catalog: Path) -> list[tuple[str, int]]:
    """The texts of `tokens` and their numbers of rows, through the catalog's view."""
    with open_catalog(catalog.parent) as connection:
        return connection.sql("select text, count(*) from tokens group by text").fetchall()


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def python(code: str, *arguments: Any, cwd: Path = REPOSITORY) -> "subprocess.Popen[str]":
    """Another process that runs code, with the two functions above; it loads no torch."""
    prelude = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
import duckdb, os, pyarrow as pa, signal
from pipeline.config import load_config
from pipeline.lake import Lake, open_catalog
from pipeline.tables.versions import SourceHashes
"""
    functions = "".join(map(inspect.getsource, (token_rows, seen_texts)))
    return subprocess.Popen(
        [sys.executable, "-c", f"{prelude}{functions}{code}", *map(str, arguments)],
        text=True,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def lake(make_experiment: Callable[..., Config]) -> Lake:
    return Lake(make_experiment(), SourceHashes())


# Writing ----------------------------------------------------------------------------------------------


def test_a_table_reads_as_it_was_written(lake):
    published = lake.write("tokens", token_rows("new"))
    assert published.n_rows == 200
    assert pq.read_table(published.path).equals(token_rows("new").cast(TABLES["tokens"].schema))
    assert lake.has("tokens") and lake.is_complete("tokens")


def test_a_write_that_fails_leaves_nothing(lake):
    def failing():
        yield from token_rows("new").cast(TABLES["tokens"].schema).to_batches()
        raise RuntimeError("in the middle")

    rows = pa.RecordBatchReader.from_batches(TABLES["tokens"].schema, failing())
    with pytest.raises(RuntimeError, match="in the middle"):
        lake.write("tokens", rows)
    assert not lake.has("tokens")
    assert {path.name for path in files_below(lake.root)} == {SCHEMA_FILE}


def test_a_write_that_fails_leaves_the_old_file(lake):
    old = lake.write("tokens", token_rows("old")).path.read_bytes()
    with pytest.raises(RuntimeError), lake.writing(lake.path("tokens")) as temporary:
        temporary.write_bytes(b"half a fi")
        raise RuntimeError
    assert lake.path("tokens").read_bytes() == old
    assert not files_below(lake.root / ".tmp")


@pytest.mark.parametrize("table", ["tokens", "activations"])
def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file_or_folder(make_experiment, tmp_path, table):
    lake = Lake(make_experiment(), SourceHashes())
    target = lake.path(table, sae="hand-set")
    with lake.writing(target) as temporary:
        if table == "activations":
            temporary.mkdir()
            pq.write_table(token_rows("old"), temporary / "00000.parquet")
        else:
            pq.write_table(token_rows("old"), temporary)
    old = {path: path.read_bytes() for path in files_below(lake.root)}
    code = """
lake = Lake(load_config(sys.argv[1]), SourceHashes())
with lake.writing(lake.path(sys.argv[2], sae="hand-set")) as temporary:
    if sys.argv[2] == "activations":
        temporary.mkdir()
        temporary /= "00000.parquet"
    temporary.write_bytes(b"half a file")
    print("half", flush=True)
    input()
"""
    process = python(code, tmp_path / "tiny.yaml", table)
    assert process.stdout.readline() == "half\n", process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert {path: path.read_bytes() for path in files_below(lake.root) if ".tmp" not in path.parts} == old
    [left, *_] = (lake.root / ".tmp").iterdir()  # the kill was real: nobody could clear up
    left.with_name(f"{left.name}.wal").touch()  # as of a catalog amid its writing
    with lake.scratch("mine") as own:
        assert len(lake.remove_left_over()) == 2
        assert list((lake.root / ".tmp").iterdir()) == [own]  # what a live process makes stays


def test_what_a_process_makes_that_cannot_be_looked_up_here_stays(lake):
    """On another node, or in another container, that is called as this host is."""
    here = lake.root / ".tmp"
    here.mkdir(parents=True)
    host = publishing._HERE.rsplit("-", 2)[0]
    elsewhere = [here / f"documents.{name}.4194303.1.1.1" for name in (host, f"{host}-0a1b2c3d-4026531836")]
    dead = here / f"documents.{publishing._HERE}.4194303.1.1.1"
    for path in (*elsewhere, dead):
        path.touch()
    assert lake.remove_left_over() == [dead]
    assert {*here.iterdir()} == {*elsewhere}


def test_a_clock_that_is_set_makes_no_living_process_a_dead_one_and_a_new_pid_none_a_living(lake):
    with lake.scratch("mine") as own:
        os.utime(own, (0, 0))  # as if the clock had been set forward since
        reused = own.with_name(re.sub(rf"\.{os.getpid()}\.\d+\.", f".{os.getpid()}.1.", own.name))
        reused.mkdir()
        assert lake.remove_left_over() == [reused]
        assert own.exists()


def test_a_folder_that_is_written_whole_clears_away_what_killed_processes_left_beside_it(tmp_path):
    target = tmp_path / "report"
    for name in ("", ".old"):
        (tmp_path / f".report.{publishing._HERE}.4194303.1.1.1{name}").mkdir()
    old = tmp_path / f".report.{os.getpid()}"  # of a container of before, with the same pid
    old.mkdir()
    os.utime(old, (1, 1))
    for content in ("first", "second"):
        with publishing.whole_folder(target) as folder, publishing.whole_folder(target) as beside:
            (folder / "page").write_text(content)
            (beside / "page").write_text(content)
    assert {path.name for path in tmp_path.iterdir()} == {"report"}
    assert (target / "page").read_text() == "second"


def test_a_lock_is_held_though_another_one_of_the_process_is_given_up(make_experiment, tmp_path):
    lake = Lake(make_experiment(), SourceHashes())
    code = """
from pipeline.errors import LakeError
lake = Lake(load_config(sys.argv[1]), SourceHashes())
for table in ("summary", "slots"):
    try:
        with lake.alone(table, waits=False):
            print(table, "is free")
    except LakeError as error:
        print(error)
"""
    with lake.alone("summary", waits=False):
        with lake.alone("slots", waits=False):
            pass
        said, errors = python(code, tmp_path / "tiny.yaml").communicate()
    assert "another run is already making 'summary'" in said and "slots is free" in said, errors
    shutil.rmtree(lake.root)  # as who begins a new lake
    with lake.alone("summary", waits=False):
        said, errors = python(code, tmp_path / "tiny.yaml").communicate()
    assert "another run is already making 'summary'" in said, errors
    said, errors = python(code, tmp_path / "tiny.yaml").communicate()
    assert "summary is free" in said, errors


def test_threads_of_one_process_exclude_each_other(make_experiment):
    lake = Lake(make_experiment(), SourceHashes())

    def hold(waits):
        with lake.alone("summary", waits=waits):
            return "held"

    with ThreadPoolExecutor(2) as threads:
        with lake.alone("summary", waits=False):
            with pytest.raises(LakeError, match="another run is already making 'summary'"):
                threads.submit(hold, False).result()
            waiting = threads.submit(hold, True)
            time.sleep(0.1)
            assert not waiting.done()
        assert waiting.result(timeout=10) == "held"


def test_rows_of_a_plug_in_that_the_config_lacks_are_refused(make_experiment):
    lake = Lake(make_experiment(scoring={"scorers": ["detection"]}), SourceHashes())
    schema = TABLES["predictions"].schema
    rows = pa.Table.from_pylist([dict.fromkeys(schema.names) | {"scorer": "fuzzing"}], schema)
    with pytest.raises(ValueError, match=r"rows for 'predictions' are of \['fuzzing'\]"):
        lake.write_parts("predictions", rows, sae="hand-set", batch=0)
    assert not lake.has("predictions", sae="hand-set", batch=0)


def test_a_kill_between_two_files_of_a_folder_leaves_every_file_whole_and_there(make_experiment, tmp_path):
    lake = Lake(make_experiment(), SourceHashes())
    target = lake.path("activations", sae="hand-set")
    with lake.writing(target) as temporary:
        temporary.mkdir()
        (temporary / "00000.parquet").write_bytes(b"old")
        (temporary / "00001.parquet").write_bytes(b"old")
    code = """
lake = Lake(load_config(sys.argv[1]), SourceHashes())
target = lake.path("activations", sae="hand-set")
replace = Path.replace
def replace_and_die(self, other):
    replace(self, other)
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = replace_and_die
with lake.writing(target) as temporary:
    temporary.mkdir()
    (temporary / "00000.parquet").write_bytes(b"new")
    (temporary / "00001.parquet").write_bytes(b"new")
"""
    process = python(code, tmp_path / "tiny.yaml")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert sorted(path.name for path in target.iterdir()) == ["00000.parquet", "00001.parquet"]
    assert {path.read_bytes() for path in target.iterdir()} == {b"old", b"new"}


def test_a_folder_is_replaced_whole(lake):
    target = lake.path("activations", sae="hand-set")
    for names in (("a", "b"), ("c",)):
        with lake.writing(target) as temporary:
            temporary.mkdir()
            for name in names:
                (temporary / name).write_text(name)
                assert not (target / name).exists()
    assert {path.name for path in target.iterdir()} == {"c"}
    assert not files_below(lake.root / ".tmp")


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.drop_columns("bytes"),
        lambda rows: rows.append_column("more", rows["text"]),
        lambda rows: rows.rename_columns({"text": "txt"}),
        lambda rows: rows.select(["text", "token_id", "bytes", "is_special"]),
    ],
    ids=["missing", "unknown", "misnamed", "out of order"],
)
def test_rows_with_other_columns_are_refused(lake, change):
    with pytest.raises(LakeError, match="rows for 'tokens' have columns"):
        lake.write("tokens", change(token_rows("new")))
    assert not lake.has("tokens")


def test_rows_of_a_narrower_type_are_cast_and_values_that_do_not_fit_are_refused(lake):
    rows = token_rows("new")
    lake.write("tokens", rows.set_column(0, "token_id", rows["token_id"].cast(pa.int16())))
    assert pq.read_schema(lake.path("tokens")) == TABLES["tokens"].schema
    too_big = pa.array([2**40] * 200, pa.int64())
    with pytest.raises(pa.ArrowInvalid):
        lake.write("tokens", rows.set_column(0, "token_id", too_big))
    assert pq.read_table(lake.path("tokens")).num_rows == 200


def test_scratch_folders_are_gone_afterwards_even_after_an_error(lake):
    with pytest.raises(RuntimeError), lake.scratch("work") as folder:
        (folder / "big").write_text("x")
        raise RuntimeError
    assert not list((lake.root / ".tmp").iterdir())


# Views ------------------------------------------------------------------------------------------------


def test_every_view_answers_on_a_lake_with_no_row(lake):
    with lake.connect() as connection:
        for name, table in TABLES.items():
            relation = connection.view(name)
            assert relation.columns == [*(each.name for each in (*table.columns, *table.derived))]
            assert relation.fetchall() == []
    assert not any(lake.is_complete(name) for name in ("documents", "contexts", "activations", "saes"))


def test_connections_of_one_process_see_nothing_of_each_other(lake):
    given = pa.table({"n": [1]})
    with lake.connect(tables=["tokens"]) as one, lake.connect(given={"tokens": given}, tables=["slots"]) as other:
        one.execute("create temp table drawn as select 7 as n")
        other.execute("create temp table drawn as select 8 as n")
        assert [each.sql("from drawn").fetchall() for each in (one, other)] == [[(7,)], [(8,)]]
        assert (one.view("tokens").columns[0], other.table("tokens").columns) == ("token_id", ["n"])
        with pytest.raises(duckdb.CatalogException):
            one.sql("from slots")
    with pytest.raises(duckdb.CatalogException), lake.connect(tables=()) as third:
        third.sql("from drawn")


def test_a_connection_leaves_nothing_behind_whatever_ends_it(lake):
    def fail():
        with lake.connect(tables=["tokens"]) as connection:
            connection.begin()
            connection.execute("create view mine as from tokens")
            connection.sql("from range(1000000)").to_arrow_reader()
            raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            fail()
        with lake.connect(tables=()) as connection:
            databases = connection.sql("from duckdb_databases() where not internal")
            assert len(databases.fetchall()) == 2  # the process's own, and this connection's


def test_what_is_spilled_lies_in_the_lake_and_is_gone_with_the_process(make_experiment, tmp_path):
    config = make_experiment(machine={"memory_limit": "30MB"})
    code = """
from pipeline.config import load_config
from pipeline.lake import Lake
from pipeline.tables.versions import SourceHashes
lake = Lake(load_config(sys.argv[1]), SourceHashes())
with lake.connect(tables=()) as connection:
    connection.execute("create temp table big as select range as n, md5(n::varchar) as text from range(1000000)")
    print(len(list((lake.root / ".tmp").glob("duckdb.*/*"))) > 0)
"""
    out, _ = python(code, tmp_path / "tiny.yaml").communicate()
    assert out.strip() == "True"
    assert not list((config.lake_folder / ".tmp").iterdir())


def test_the_catalog_answers_from_another_folder_and_process(make_experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lake = Lake(make_experiment(machine={"lake": "relative-lake"}), SourceHashes())
    lake.write("tokens", token_rows("new"))
    catalog = lake.refresh_catalog()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    process = python("print(seen_texts(Path(sys.argv[1])))", catalog, cwd=elsewhere)
    out, error = process.communicate()
    assert out.strip() == "[('new', 200)]", error


def test_a_view_shows_one_whole_version_while_another_process_writes(make_experiment, tmp_path):
    lake = Lake(make_experiment(), SourceHashes())
    lake.write("tokens", token_rows("0"))
    catalog = lake.refresh_catalog()
    code = """
lake = Lake(load_config(sys.argv[1]), SourceHashes())
print("ready", flush=True)
number = 0
while not (lake.root / "stop").exists():
    number += 1
    lake.write("tokens", token_rows(str(number)))
    lake.refresh_catalog()
print(number)
"""
    process = python(code, tmp_path / "tiny.yaml")
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    seen = set()
    try:
        while len(seen) < 5:
            [(text, n_rows)] = seen_texts(catalog)
            assert n_rows == 200
            seen.add(text)
            assert process.poll() is None, process.communicate()[1]
    finally:
        (lake.root / "stop").touch()
        out, error = process.communicate()
    assert int(out) >= 4, error


def test_a_view_on_saes_shows_all_of_them_and_a_connection_for_one_shows_only_that(make_experiment, tmp_path):
    sources = {name: write_hand_set_sae(tmp_path / name) for name in ("one", "two")}
    config = make_experiment(saes=[hand_set_entry(folder, name) for name, folder in sources.items()])
    lake = Lake(config, SourceHashes())
    for name in sources:
        row = {"sae": [name], "feature": [0], "route": ["dead"], "reason": ["never fires"]}
        lake.write("feature_routes", pa.table(row), sae=name)
    for sae, names in ((None, ["one", "two"]), ("two", ["two"])):
        with lake.connect(sae) as connection:
            assert [
                row[0] for row in connection.sql("select sae from feature_routes order by 1").fetchall()
            ] == names


def test_a_quote_in_a_path_breaks_no_view(make_experiment, tmp_path):
    lake = Lake(make_experiment(tmp_path / "it's"), SourceHashes())
    lake.write("tokens", token_rows("new"))
    assert seen_texts(lake.refresh_catalog()) == [("new", 200)]


def test_a_lake_that_was_sent_opens_and_answers_wherever_it_lands(make_experiment, tmp_path):
    lake = Lake(make_experiment(), SourceHashes())
    lake.write("tokens", token_rows("new"))
    lake.refresh_catalog()
    here = shutil.copytree(lake.root, tmp_path / "elsewhere")
    lake.root.rename(tmp_path / "gone")
    with open_catalog(here) as connection:
        assert connection.cursor().sql("select distinct text from tokens").fetchall() == [("new",)]
        assert connection.sql("select count(*) from llm_requests").fetchall() == [(0,)]
    assert OpenLake(here).sql("select count(*) as n from tokens")["n"].to_list() == [200]
    with pytest.raises(LakeError, match=f"it has no {CATALOG_FILE}"):
        open_catalog(lake.root)


def test_a_bare_duckdb_reads_a_lake_after_one_line(make_experiment, tmp_path):
    """The line is the one of docs/cookbook.md."""
    lake = Lake(make_experiment(), SourceHashes())
    lake.write("tokens", token_rows("new"))
    lake.refresh_catalog()
    here = lake.root.rename(tmp_path / "elsewhere")
    with duckdb.connect(str(here / CATALOG_FILE), read_only=True) as connection:
        with pytest.raises(duckdb.IOException):
            connection.sql("from tokens").fetchall()
        connection.execute(f"set file_search_path = '{here}'")
        assert connection.sql("select distinct text from tokens").fetchall() == [("new",)]
        assert connection.sql(MEAN_OF_IDS).fetchall() == [(99.5,)]


def test_make_sql_answers_from_the_folder_of_a_lake_alone(make_experiment, tmp_path, capsys):
    lake = Lake(make_experiment(), SourceHashes())
    lake.write("tokens", token_rows("new"))
    lake.refresh_catalog()
    here = lake.root.rename(tmp_path / "sent")
    assert answer_statements(str(here), "select count(*) as n from tokens") == 0
    assert "200" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a [b]", "it's"])
def test_a_lake_may_land_in_a_folder_of_any_name(make_experiment, tmp_path, name):
    lake = Lake(make_experiment(), SourceHashes())
    lake.write("tokens", token_rows("new"))
    lake.refresh_catalog()
    here = lake.root.rename(tmp_path / name)
    with open_catalog(here) as connection:
        assert connection.sql(MEAN_OF_IDS).fetchall() == [(99.5,)]
    with duckdb.connect() as connection:  # as the explorer
        copy_views(connection, here)
        assert connection.sql("select distinct text from tokens").fetchall() == [("new",)]
    result = answer(here, "select distinct text from tokens")
    assert result.rows == [["new"]], result.error


def test_a_lake_below_a_comma_is_refused_with_the_cure(make_experiment, tmp_path):
    lake = Lake(make_experiment(), SourceHashes())
    lake.refresh_catalog()
    here = lake.root.rename(tmp_path / "one, two")
    with pytest.raises(LakeError, match="one, two' contains a ',', which DuckDB cannot open; rename it"):
        open_catalog(here)


# Versions ---------------------------------------------------------------------------------------------


def hashes_of(config: Config, content: SourceHashes | None = None) -> dict[str, str]:
    return {table: Versions(config, content or SourceHashes()).of(table, config.sae_names[0]) for table in STAGES}


def changed_tables(config: Config, other: Config) -> set[str]:
    before, after = hashes_of(config), hashes_of(other)
    return {table for table in STAGES if before[table] != after[table]}


def with_what_follows(table: str) -> set[str]:
    """A table and every one that is made from it."""
    found = {table}
    for stage in STAGES.values():  # inputs come first
        if found & set(stage.inputs):
            found.add(stage.table)
    return found


def test_a_parameter_that_is_no_key_is_refused(make_experiment):
    with pytest.raises(ConfigError, match="rules_nothing is not a key"):
        config_value(make_experiment(), "rules_nothing")


def test_parameters_in_comments_do_not_count():
    assert parameters_of("-- needs $seed\nselect $sae, $corpus_shards") == ["corpus_shards", "sae"]


@pytest.mark.parametrize(
    "rules",
    [{"min_support": 5}, {"max_tokens": [1, 5], "chosen_max_tokens": 5}, {"discount": 0.1}, {"parsimony": 0.1}],
)
def test_a_changed_rule_setting_makes_new_rules_and_what_follows_and_nothing_else(make_experiment, rules):
    changed = changed_tables(make_experiment(), make_experiment(rules=rules))
    assert changed == with_what_follows("feature_rules") >= {"feature_rules", "feature_routes"}
    assert not {"activations", "feature_stats", *OF_THE_CORPUS} & changed


def test_a_changed_seed_changes_what_is_drawn(make_experiment):
    changed = changed_tables(make_experiment(), make_experiment(seed=1))
    assert {"documents", "slots", "activations", "example_index"} <= changed
    assert not {"saes", "tokens"} & changed


@pytest.mark.parametrize(
    "sections",
    [
        {"selection": {"batch_size": 2, "quotas": None, "where": "density > 0", "priority": 3}},
        {"machine": {"device": "cuda", "batch_tokens": 7, "flush_firings": 7, "memory_limit": "1GB"}},
        {"endpoints": {"scorer": {"max_concurrent": 3}}},
        {"budget": {"max_usd": 3.0}},
        {"report": {"beside": "post"}},
        {"name": "another"},
    ],
)
def test_what_is_done_first_where_and_how_fast_is_in_no_hash(make_experiment, sections):
    assert changed_tables(make_experiment(), make_experiment(**sections)) == set()


def test_no_stage_has_a_section_that_is_in_no_hash():
    places = {place.partition(".")[0] for stage in STAGES.values() for place in stage.science}
    assert Config.model_fields.keys() >= UNHASHED and not UNHASHED & places


@pytest.mark.parametrize(
    "sections",
    [
        {"subject": {"dtype": "bfloat16"}},
        {"corpus": {"context_length": 128}},
        {"corpus": {"prepend_bos": True}},
    ],
)
def test_a_changed_way_of_reading_makes_new_activations(make_experiment, sections):
    changed = changed_tables(make_experiment(), make_experiment(**sections))
    assert {"activation_shards", "activations", "feature_stats"} <= changed
    assert not {"saes", "tokens"} & changed


def test_changed_sql_makes_a_new_table_and_what_follows(make_experiment, monkeypatch):
    before = hashes_of(make_experiment())
    monkeypatch.setattr(
        definitions, "full_text", lambda name: full_text(name) + " limit 1" * (name == "feature_routes")
    )
    after = hashes_of(make_experiment())
    changed = {table for table in STAGES if before[table] != after[table]}
    assert changed == with_what_follows("feature_routes") < set(STAGES)


@pytest.mark.parametrize(
    "change",
    [{"text_field": "book"}, {"unit_field": "book"}, {"max_documents": 3}],
    ids=lambda change: next(iter(change)),
)
def test_another_way_to_read_the_same_files_makes_new_documents(make_experiment, tmp_path, change):
    source = {"kind": "jsonl", "path": str(write_corpus(tmp_path / "texts", kind="jsonl"))}
    config = make_experiment(corpus={"sources": [source]})
    other = make_experiment(corpus={"sources": [{**source, **change}]})
    assert Lake(config, fix_sources(config)).path("documents") != Lake(other, fix_sources(other)).path("documents")


def test_a_changed_sae_moves_only_its_own_folders(make_experiment, tmp_path):
    entries = [hand_set_entry(write_hand_set_sae(tmp_path / name), name) for name in ("one", "two")]
    config = make_experiment(saes=entries)
    content = fix_sources(config)
    changed = SourceHashes(content.corpus, {**content.saes, "two": "other weights"})
    before, after = Lake(config, content), Lake(config, changed)
    for name in BY_SAE:
        for part in before.parts(name):
            assert before.folder(name, "one", part) == after.folder(name, "one", part)
            assert before.folder(name, "two", part) != after.folder(name, "two", part)
    for name in OF_THE_CORPUS:
        assert before.folder(name) == after.folder(name)


def test_another_sae_leaves_the_paths_of_the_first_equal(make_experiment, tmp_path):
    one = hand_set_entry(write_hand_set_sae(tmp_path / "one"), "one")
    two = {
        "name": "two",
        "source": str(write_random_sae(tmp_path / "two")),
        "hookpoint": "layers.1",
        "n_features": 64,
    }
    paths = []
    for entries in ([one], [one, two], [two, one]):
        config = make_experiment(saes=entries)
        lake = Lake(config, fix_sources(config))
        names = (*BY_SAE, *OF_THE_CORPUS)
        paths.append({(name, part): lake.folder(name, "one", part) for name in names for part in lake.parts(name)})
    assert paths[0] == paths[1] == paths[2]


def test_an_sae_read_centred_has_versions_of_its_own(make_experiment, tmp_path):
    entry = hand_set_entry(write_hand_set_sae(tmp_path / "one"), "one")
    plain, centred = (
        Lake(config, fix_sources(config)).folder("activations", "one")
        for config in (make_experiment(saes=[{**entry, "centred": flag}]) for flag in (False, True))
    )
    assert plain != centred


def test_the_graph_knows_a_version_before_any_file_is_read(tmp_path):
    (tmp_path / "subject").mkdir()
    path = write_experiment(
        tmp_path,
        saes=[hand_set_entry(tmp_path / "none")],
        corpus={
            "sources": [{"kind": "text", "path": str(tmp_path / "none")}],
            "context_length": 64,
        },
    )
    config = load_config(path)
    assert all(len(Versions(config, open_sources(config)).of(table)) == 12 for table in STAGES)


def test_cleaning_removes_what_no_view_points_at_and_nothing_else(make_experiment):
    config = make_experiment()
    old, new = Lake(config, SourceHashes("old")), Lake(config, SourceHashes("new"))
    for lake in (old, new):
        lake.write("tokens", token_rows("same"))
        row = {"sae": ["hand-set"], "feature": [0], "route": ["dead"], "reason": ["never fires"]}
        lake.write("feature_routes", pa.table(row), sae="hand-set")
    new.refresh_catalog()
    (new.root / "ledger").mkdir(exist_ok=True)
    (new.root / "ledger" / "answers.jsonl").write_text("{}\n")
    kept = {path for path in files_below(new.root) if old.folder("feature_routes", "hand-set") not in path.parents}
    assert old.folder("feature_routes", "hand-set") in new.clean()
    assert files_below(new.root) - {new.root / "use.lock"} == kept
    assert seen_texts(new.root / CATALOG_FILE) == [("same", 200)]
    assert new.clean() == []


def test_a_lake_is_not_cleaned_while_a_run_by_another_config_may_be_making_what_no_view_points_at(make_experiment):
    config = make_experiment()
    running, other = Lake(config, SourceHashes("running")), Lake(config, SourceHashes("other"))
    row = {"sae": ["hand-set"], "feature": [0], "route": ["dead"], "reason": ["never fires"]}
    running.write("feature_routes", pa.table(row), sae="hand-set")
    with running._use_file() as file:
        assert file.readable() and file.writable()  # NFS locks no other file both ways
    with running.in_use(), running.in_use():  # any number of runs
        with pytest.raises(LakeError, match=r"a run on '.*' is under way; wait for it to finish"):
            other.clean()
        assert running.has("feature_routes", sae="hand-set")
    assert running.folder("feature_routes", "hand-set") in other.clean()


# What is there -----------------------------------------------------------------------------------------


def test_a_table_that_is_not_complete_is_named_with_what_to_materialise(lake):
    with pytest.raises(LakeError, match=r"table 'tokens' is not complete .*; materialise 'tiny/tokens' first"):
        lake.require("tokens")
    with pytest.raises(LakeError, match=r"table 'feature_stats' of SAE 'hand-set' .*'tiny/feature_stats' first"):
        lake.require("feature_stats", sae="hand-set")
    lake.write("tokens", token_rows("new"))
    lake.require("tokens")


def test_a_table_of_shards_is_complete_with_its_last_shard(lake):
    rows = pa.table({"context_id": [0], "doc_id": ["a"], "shard": [0], "token_ids": [[1, 2]]})
    lake.write("contexts", rows, shard=0)
    assert lake.has("contexts", shard=0) and not lake.is_complete("contexts")
    lake.write("contexts", rows, shard=1)
    lake.require("contexts")


def test_a_folder_below_a_file_is_not_writable_and_one_to_be_made_is(tmp_path):
    (tmp_path / "file").write_text("x")
    assert is_writable(tmp_path / "new" / "deeper")
    assert not is_writable(tmp_path / "file" / "lake")


def test_a_plugin_has_versions_of_its_own(make_experiment, monkeypatch):
    """Another scorer, or a changed prompt of one, makes no other scorer's rows anew."""

    def folders(**scoring):
        lake = Lake(make_experiment(scoring=scoring), SourceHashes())
        names = ("explanations", "predictions", "scores")
        return {(name, part): lake.folder(name, "hand-set", part) for name in names for part in lake.parts(name)}

    both, one = folders(), folders(scorers=["detection"])
    assert both.items() - one.items() == {
        (key, both[key]) for key in [("predictions", "fuzzing"), ("scores", None)]
    }
    fuzzing = find_plugins("scorers")["fuzzing"]
    monkeypatch.setitem(vars(fuzzing), "digest", "of another prompt")
    changed = folders()
    assert {key for key in both if both[key] != changed[key]} == {("predictions", "fuzzing"), ("scores", None)}


def test_explainers_in_another_order_make_other_controls_and_the_same_explanations(make_experiment):
    def folders(*explainers):
        lake = Lake(make_experiment(explaining={"explainers": [*explainers]}), SourceHashes())
        return {part: lake.folder("explanations", "hand-set", part) for part in lake.parts("explanations")}

    first, turned = folders("default", "keywords"), folders("keywords", "default")
    assert {part for part in first if first[part] != turned[part]} == {"controls"}


def test_a_catalog_that_cannot_be_written_leaves_nothing_behind(make_experiment, monkeypatch):
    lake = Lake(make_experiment(), SourceHashes())

    def fill_the_disk(_, connection, *rest, **more):
        [path] = [row[0] for row in connection.execute("select path from duckdb_databases()").fetchall() if row[0]]
        Path(f"{path}.wal").touch()
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr(Lake, "_create_views", fill_the_disk)
    with pytest.raises(duckdb.IOException):
        lake.refresh_catalog()
    assert list((lake.root / ".tmp").iterdir()) == []
