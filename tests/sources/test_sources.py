"""What the lake was made from: fixed at the first run, held to afterwards."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import corpus_texts as tiny_texts
from tiny import hand_set_entry, write_corpus, write_hand_set_sae

from pipeline.config import Config
from pipeline.errors import CorpusError, LakeError, SaeError
from pipeline.lake import Lake
from pipeline.sources import SOURCES_FILE, corpus_texts, fix_sources, fixing, open_sources
from pipeline.tables import TABLES
from pipeline.texts.text import Text


def recorded(config: Config) -> bytes:
    return (config.lake_folder / SOURCES_FILE).read_bytes()


def test_a_second_run_finds_the_same_and_writes_nothing(make_experiment):
    config = make_experiment()
    first = fix_sources(config)
    written = config.lake_folder / SOURCES_FILE
    before = (recorded(config), written.stat().st_mtime_ns, written.stat().st_ino)
    assert fix_sources(config) == first == open_sources(config)
    assert (recorded(config), written.stat().st_mtime_ns, written.stat().st_ino) == before
    assert first.corpus and first.saes["hand-set"]


def test_a_file_of_the_same_size_and_time_is_not_read_again(make_experiment, tmp_path):
    config = make_experiment()
    first = fix_sources(config)
    path = tmp_path / "corpus" / "0000.txt"
    time = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(time, time))
    assert fix_sources(config) == first


def test_a_file_that_was_only_touched_is_the_same(make_experiment, tmp_path):
    config = make_experiment()
    first = fix_sources(config)
    for path in (tmp_path / "corpus" / "0000.txt", tmp_path / "sae" / "sae.safetensors"):
        os.utime(path, ns=(1, 1))
    assert fix_sources(config) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda corpus: (corpus / "0003.txt").write_text("other text"),
        lambda corpus: (corpus / "0003.txt").unlink(),
    ],
    ids=["edited", "removed"],
)
def test_a_changed_corpus_stops_the_run_and_overwrites_nothing(
    make_experiment: Callable[..., Config], tmp_path: Path, change: Callable[[Path], None]
):
    config = make_experiment()
    fix_sources(config)
    before = recorded(config)
    change(tmp_path / "corpus")
    with pytest.raises(CorpusError) as caught:
        fix_sources(config)
    message = str(caught.value)
    assert str(tmp_path / "corpus") in message and "has changed" in message and str(config.lake_folder) in message
    assert recorded(config) == before


def test_a_renamed_corpus_file_is_a_change_since_its_unit_is_another(make_experiment, tmp_path):
    config = make_experiment()
    fix_sources(config)
    (tmp_path / "corpus" / "0039.txt").rename(tmp_path / "corpus" / "9939.txt")
    with pytest.raises(CorpusError, match="has changed"):
        fix_sources(config)


@pytest.mark.parametrize("name", ["sae.safetensors", "cfg.json"])
def test_a_changed_sae_file_stops_the_run_and_overwrites_nothing(make_experiment, tmp_path, name):
    config = make_experiment()
    fix_sources(config)
    before = recorded(config)
    path = tmp_path / "sae" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(SaeError, match=r"SAE 'hand-set' at .* is not the one that this lake was made with"):
        fix_sources(config)
    assert recorded(config) == before


def test_the_old_files_put_back_are_taken_again(make_experiment, tmp_path):
    config = make_experiment()
    first = fix_sources(config)
    path = tmp_path / "corpus" / "0000.txt"
    content = path.read_bytes()
    path.write_text("other text")
    with pytest.raises(CorpusError):
        fix_sources(config)
    path.write_bytes(content)
    assert fix_sources(config) == first


def test_another_sae_is_recorded_beside_the_first(make_experiment, tmp_path):
    first = fix_sources(make_experiment())
    entries = [
        hand_set_entry(tmp_path / "sae"),
        hand_set_entry(write_hand_set_sae(tmp_path / "b", scale=2.0), "b"),
    ]
    both = fix_sources(make_experiment(saes=entries))
    assert both.corpus == first.corpus
    assert both.saes["hand-set"] == first.saes["hand-set"] != both.saes["b"]


def test_the_same_sae_under_two_names_has_one_content(make_experiment, tmp_path):
    write_hand_set_sae(tmp_path / "sae")
    config = make_experiment(saes=[hand_set_entry(tmp_path / "sae", "a"), hand_set_entry(tmp_path / "sae", "b")])
    hashes = fix_sources(config)
    assert hashes.saes["a"] == hashes.saes["b"]


def test_texts_come_back_in_the_order_of_the_sources(make_experiment, tmp_path):
    second = write_corpus(tmp_path / "second", kind="jsonl", texts=["last"])
    first = write_corpus(tmp_path / "first", texts=tiny_texts()[:3])
    sources = [{"kind": "text", "path": str(first)}, {"kind": "jsonl", "path": str(second)}]
    config = make_experiment(corpus={"sources": sources})
    fix_sources(config)
    assert [text.text for text in corpus_texts(config)] == [*tiny_texts()[:3], "last"]


def test_the_python_texts_are_copied_so_that_a_changed_installation_changes_no_lake(make_experiment, monkeypatch):
    installed = [Text("python topics", f"topic {name}", f"About {name}.\n") for name in ("with", "yield", "é")]
    monkeypatch.setattr("pipeline.texts.readers.python_texts", lambda: iter(installed))
    config = make_experiment(corpus={"sources": [{"kind": "python"}]})
    first = fix_sources(config)
    [copy] = (config.lake_folder / "sources").iterdir()
    assert pq.read_metadata(copy).num_rows == 3
    monkeypatch.setattr("pipeline.texts.readers.python_texts", lambda: pytest.fail("read again"))
    assert fix_sources(config) == first
    assert list(corpus_texts(config)) == installed


def test_a_torn_record_of_the_sources_is_named(make_experiment):
    config = make_experiment()
    fix_sources(config)
    path = config.lake_folder / SOURCES_FILE
    path.write_text(path.read_text()[:50])
    with pytest.raises(LakeError, match=r"sources\.json' is not JSON"):
        open_sources(config)
    path.write_text("[]")
    with pytest.raises(LakeError, match=r"sources\.json' does not record what the lake was made from"):
        open_sources(config)


def test_before_the_first_run_nothing_is_known_and_nothing_is_written(make_experiment):
    config = make_experiment()
    hashes = open_sources(config)
    assert hashes.saes == {"hand-set": ""}
    assert not config.lake_folder.exists()


def test_the_record_is_json_that_names_every_file(make_experiment, tmp_path):
    config = make_experiment()
    fix_sources(config)
    known = json.loads(recorded(config))
    assert set(known["saes"]["hand-set"]["files"]) == {
        str(tmp_path / "sae" / "cfg.json"),
        str(tmp_path / "sae" / "sae.safetensors"),
    }
    [corpus] = known["corpus"].values()
    assert len(corpus["files"]) == 40


def test_what_another_run_records_while_this_one_reads_is_kept(make_experiment, tmp_path, monkeypatch):
    config = make_experiment()
    fix_sources(config)
    other = make_experiment(
        saes=[hand_set_entry(tmp_path / "sae"), hand_set_entry(write_hand_set_sae(tmp_path / "b", scale=2.0), "b")]
    )
    (tmp_path / "corpus" / "more.txt").write_text("more " * 50)
    compare, begun = fixing._compare, []

    def compare_while_another_runs(*arguments, **named):
        hashes = compare(*arguments, **named)
        if not begun:
            begun.append(True)
            fix_sources(config, takes_new=True)
        return hashes

    monkeypatch.setattr(fixing, "_compare", compare_while_another_runs)
    hashes = fix_sources(other)
    assert len(open_sources(config).generations) == len(hashes.generations) == 1
    assert open_sources(other) == hashes and hashes.saes["b"]


# Batches --------------------------------------------------------------------------------------------------


def made_batch(config: Config, batch: int, feature: int) -> None:
    columns = {field.name: pa.nulls(1, field.type) for field in TABLES["examples"].schema}
    row = pa.table(columns).set_column(2, "feature", pa.array([feature], pa.int32()))
    Lake(config, fix_sources(config)).write("examples", row, sae="hand-set", batch=batch)


def test_a_lake_keeps_its_batch_size_from_the_first_batch_on(make_experiment):
    fix_sources(make_experiment(selection={"batch_size": 16}))
    made_batch(make_experiment(selection={"batch_size": 4}), 0, 1)
    other = make_experiment(selection={"batch_size": 2}, seed=1)  # in another version there is none
    for opens in (fix_sources, open_sources):
        words = r"batch_size is 2, but .* have 4 features; set .*batch_size: 4, or remove its folders examples, "
        with pytest.raises(LakeError, match=words):
            opens(other)
