"""Documents that are added behind the recorded ones: a generation of their own, and nothing else moves."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import corpus_texts as tiny_texts
from tiny import open_lake, rows_of, stored, write_corpus

from pipeline.config import Config
from pipeline.corpus.contexts import write_contexts
from pipeline.corpus.documents import write_documents
from pipeline.errors import CorpusError
from pipeline.firings.store import write_activations
from pipeline.firings.write import write_activation_shards
from pipeline.lake import Lake
from pipeline.sae.write import write_saes
from pipeline.sources import corpus_texts, fix_sources, new_documents, open_sources

Experiment = Callable[..., Config]
MORE = tiny_texts(n_documents=8, seed=1)


def add_files(folder: Path) -> None:
    for number, text in enumerate(MORE):
        (folder / f"more{number}.txt").write_bytes(text.encode())


def lines(texts: list[str]) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def texts_of(config: Config, generation: int) -> list[str]:
    return [text.text for text in corpus_texts(config, generation=generation)]


def test_new_files_wait_until_they_are_taken_and_are_the_next_generation_then(
    make_experiment: Experiment, tmp_path: Path
) -> None:
    config = make_experiment()
    first = fix_sources(config)
    assert new_documents(config).names == []
    add_files(tmp_path / "corpus")
    assert len(new_documents(config).names) == len(MORE)
    assert fix_sources(config) == first
    grown = fix_sources(config, takes_new=True)
    assert grown.corpus == first.corpus and len(grown.generations) == 1
    assert grown.at(0) == first and open_sources(config) == fix_sources(config, takes_new=True) == grown
    assert new_documents(config).names == []
    assert texts_of(config, 0) == tiny_texts() and texts_of(config, 1) == MORE


def test_whole_lines_behind_those_of_a_file_are_new_and_keep_their_numbers(
    make_experiment: Experiment, tmp_path: Path
) -> None:
    path = write_corpus(tmp_path / "rows", kind="jsonl")
    config = make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path)}]})
    fix_sources(config)
    with path.open("a") as file:
        file.write(lines(MORE[:3]) + '{"text": "not yet whol')
    assert new_documents(config).names == [str(path)]
    assert len(fix_sources(config, takes_new=True).generations) == 1
    with path.open("a") as file:
        file.write('e"}\n')
    assert len(fix_sources(config, takes_new=True).generations) == 2
    assert len(texts_of(config, 0)) == 40
    units = [text.unit for text in corpus_texts(config, generation=1)]
    assert units == [f"corpus.jsonl:{number}" for number in (41, 42, 43)]
    assert texts_of(config, 2) == ["not yet whole"]


@pytest.mark.parametrize("behind", ['{"text": "not yet whole"}', "\n \n", '\n{"text": "not yet', "\r\n"])
def test_what_holds_no_whole_line_yet_is_nothing_new(
    make_experiment: Experiment, tmp_path: Path, behind: str
) -> None:
    """The sensor would ask for a run that takes it, again and again."""
    path = write_corpus(tmp_path / "rows", kind="jsonl")
    config = make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path)}]})
    first = fix_sources(config)
    with path.open("a") as file:
        file.write(behind)
    assert new_documents(config).names == []
    assert fix_sources(config, takes_new=True) == fix_sources(config) == first
    with path.open("a") as file:
        file.write("\n" + lines(MORE[:1]) if not behind.endswith("yet") else ' whole"}\n')
    assert new_documents(config).names == [str(path)]
    assert len(fix_sources(config, takes_new=True).generations) == 1
    assert len(texts_of(config, 1)) == 1 + behind.endswith("}")


def test_a_new_file_that_is_still_empty_is_nothing_new(make_experiment: Experiment, tmp_path: Path) -> None:
    config = make_experiment()
    first = fix_sources(config)
    new = tmp_path / "corpus" / "new.txt"
    new.touch()
    assert new_documents(config).names == []
    assert fix_sources(config, takes_new=True) == first
    new.write_text(MORE[0])
    assert new_documents(config).names == [str(new)]
    assert len(fix_sources(config, takes_new=True).generations) == 1
    assert texts_of(config, 1) == MORE[:1]


def test_a_source_named_behind_the_others_is_a_generation_and_before_them_another_corpus(
    make_experiment: Experiment, tmp_path: Path
) -> None:
    first = fix_sources(make_experiment())
    more = {"kind": "text", "path": str(write_corpus(tmp_path / "more", texts=MORE))}
    old = {"kind": "text", "path": str(tmp_path / "corpus")}
    behind = make_experiment(corpus={"sources": [old, more]})
    assert fix_sources(behind) == first and new_documents(behind).names == [more["path"]]
    grown = fix_sources(behind, takes_new=True)
    assert grown.corpus == first.corpus and len(grown.generations) == 1
    assert fix_sources(make_experiment()) == first
    before = fix_sources(make_experiment(corpus={"sources": [{**more, "max_documents": 5}, old]}), takes_new=True)
    assert before.corpus != first.corpus and before.generations == ()


@pytest.mark.parametrize(("kind", "takes_new"), [("text", True), ("text", False), ("jsonl", True)])
def test_a_changed_recorded_part_stops_the_run_though_there_is_more_behind_it(
    make_experiment: Experiment, tmp_path: Path, kind: str, takes_new: bool
) -> None:
    path = write_corpus(tmp_path / "rows", kind=kind)
    config = make_experiment(corpus={"sources": [{"kind": kind, "path": str(path)}]})
    fix_sources(config)
    changed = path if kind == "jsonl" else path / "0003.txt"
    changed.write_text(changed.read_text().replace("stop", "halt") + lines(MORE))
    with pytest.raises(CorpusError, match=r"has changed since lake .* was made from it \(file '.*'\)"):
        fix_sources(config, takes_new=takes_new)


def test_who_does_not_take_the_growth_of_a_file_does_not_read_it(
    make_experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_corpus(tmp_path / "rows", kind="jsonl")
    config = make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path)}]})
    first, n_bytes = fix_sources(config), path.stat().st_size
    with path.open("a") as file:
        file.write(lines(MORE))
    monkeypatch.setattr("pipeline.sources.contents._sha256", lambda *_: pytest.fail("read"))
    assert fix_sources(config) == first
    with path.open("r+b") as bytes_of_it:  # what was recorded ends amid a line now
        bytes_of_it.seek(n_bytes - 1)
        bytes_of_it.write(b" ")
    with pytest.raises(CorpusError, match="has changed since"):
        fix_sources(config)


@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_a_source_that_is_read_up_to_a_number_of_documents_does_not_grow(
    make_experiment: Experiment, tmp_path: Path, kind: str
) -> None:
    path = write_corpus(tmp_path / "rows", kind=kind)
    config = make_experiment(corpus={"sources": [{"kind": kind, "path": str(path), "max_documents": 30}]})
    first = fix_sources(config)
    if kind == "text":
        add_files(path)
    else:
        path.write_text(path.read_text() + lines(MORE))
    assert new_documents(config).names == []
    assert fix_sources(config, takes_new=True) == first and len(texts_of(config, 0)) == 30
    changed = path if kind == "jsonl" else path / "0003.txt"
    changed.write_text(changed.read_text().replace("stop", "halt"))
    with pytest.raises(CorpusError, match="has changed since"):
        fix_sources(config, takes_new=True)


def test_a_corpus_that_grew_in_another_folder_is_known_by_what_is_recorded_of_it(
    make_experiment: Experiment, tmp_path: Path
) -> None:
    path = write_corpus(tmp_path / "rows", kind="jsonl")

    def reading(path: Path) -> Config:
        return make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path)}]})

    first = fix_sources(reading(path))
    for name, text in (("same", path.read_text()), ("other", path.read_text().replace("stop", "halt"))):
        moved = tmp_path / name / path.name
        moved.parent.mkdir()
        moved.write_text(text + lines(MORE))
        assert (fix_sources(reading(moved)).corpus == first.corpus) == (name == "same")


def test_a_corpus_in_another_folder_is_the_same_with_all_its_generations(
    make_experiment: Experiment, tmp_path: Path
) -> None:
    config = make_experiment()
    fix_sources(config)
    add_files(tmp_path / "corpus")
    grown = fix_sources(config, takes_new=True)
    (tmp_path / "corpus").rename(tmp_path / "moved")
    moved = make_experiment(corpus={"sources": [{"kind": "text", "path": str(tmp_path / "moved")}]})
    assert fix_sources(moved) == grown
    assert texts_of(moved, 1) == MORE


def make_activations(config: Config) -> Lake:
    lake = open_lake(config)
    write_saes(lake)
    write_documents(lake)
    for shard in range(config.corpus.shards):
        write_contexts(lake, shard)
        lake.read = write_activation_shards(lake, shard).figures["tokens_read"] + getattr(lake, "read", 0)
    write_activations(lake, "hand-set")
    return lake


FIRINGS = """
    select doc_id, context_id - first_context_id as number, position, feature, activation, role
    from activations join contexts using (context_id) join documents using (doc_id) order by all
"""


@pytest.mark.whole
def test_only_new_documents_pass_the_model_and_the_rows_are_those_of_a_run_from_scratch(
    make_experiment: Experiment, tmp_path: Path
) -> None:
    config = make_experiment()
    before = make_activations(config)
    add_files(tmp_path / "corpus")
    (tmp_path / "corpus" / "copy.txt").write_text(tiny_texts()[0])
    fix_sources(config, takes_new=True)
    grown = make_activations(config)
    n_new = rows_of(grown, "select sum(n_tokens)::int as n from documents where generation = 1")[0]["n"]
    assert grown.read == n_new < before.read
    # What was there stands where it stood.
    old = "from documents where generation = 0 order by doc_id"
    assert rows_of(grown, old) == rows_of(before, old)
    for generation, lake in ((0, before), (0, grown)):
        assert stored(lake, "contexts", shard=0, generation=generation).equals(stored(before, "contexts", shard=0))
    scratch = make_activations(make_experiment(machine={"lake": str(tmp_path / "other")}))
    assert scratch.read == before.read + n_new
    assert rows_of(grown, FIRINGS) == rows_of(scratch, FIRINGS) != rows_of(before, FIRINGS)
    # The versions before are those of the lake as it was.
    assert grown.folder("activations", "hand-set", generation=0) == before.folder("activations", "hand-set")
    assert grown.folder("activations", "hand-set") != before.folder("activations", "hand-set")


def test_one_short_new_document_leaves_shards_without_any(make_experiment: Experiment, tmp_path: Path) -> None:
    config = make_experiment()
    n_before = rows_of(make_activations(config), "select count(*)::int as n from contexts")[0]["n"]
    (tmp_path / "corpus" / "more.txt").write_text(" ".join(MORE[0].split()[:12]))
    fix_sources(config, takes_new=True)
    grown = make_activations(config)
    assert grown.read > 0
    assert rows_of(grown, "select count(*)::int as n from contexts")[0]["n"] == n_before + 1
