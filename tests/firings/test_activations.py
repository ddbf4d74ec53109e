"""The activation store: exactly the firings that the hand-set SAE must give, however they were written."""

import os
import resource
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sae_layouts import LAYOUTS, random_weights
from safetensors.torch import load_file, save_file
from tiny import (
    ALWAYS,
    COLOUR,
    CONTEXT_LENGTH,
    NEVER,
    STOP,
    WIDTH,
    hand_set_entry,
    open_lake,
    rows_of,
    write_experiment,
    write_hand_set_sae,
    write_random_sae,
    write_sparsify,
)

from pipeline.config import Config, load_config
from pipeline.corpus.contexts import write_contexts
from pipeline.corpus.documents import write_documents
from pipeline.corpus.tokens import write_tokens
from pipeline.errors import LakeError, SubjectError
from pipeline.firings.buffers import FiringBuffer, rounded
from pipeline.firings.files import Firings
from pipeline.firings.layout import BUCKET_FEATURES, n_buckets_of
from pipeline.firings.shards import _n_writers, _Writers
from pipeline.firings.store import write_activations
from pipeline.firings.write import write_activation_shards
from pipeline.lake import Lake, Published
from pipeline.make_table import make_table
from pipeline.sae import load_sparse_coder
from pipeline.sae.write import write_saes
from pipeline.subject.forward import Hookpoint, load_subject

pytestmark = pytest.mark.whole

Firing = tuple[int, int, int]
Answers = Mapping[int, Mapping[int, float]]


def write_corpus_tables(config: Config) -> Lake:
    """A lake with everything that a forward pass needs."""
    lake = open_lake(config)
    write_documents(lake)
    write_tokens(lake)
    make_table(lake, "slots")
    for shard in range(config.corpus.shards):
        write_contexts(lake, shard)
    write_saes(lake)
    return lake


def write_all(config: Config) -> Lake:
    """A lake with the activations of every SAE."""
    lake = write_corpus_tables(config)
    for shard in range(config.corpus.shards):
        write_activation_shards(lake, shard)
    for sae in config.sae_names:
        write_activations(lake, sae)
    return lake


def firings_of(lake: Lake, sae: str = "hand-set") -> dict[Firing, float]:
    """(feature, context_id, position) to activation."""
    rows = rows_of(lake, f"from activations where sae = '{sae}'")
    firings = {(row["feature"], row["context_id"], row["position"]): row["activation"] for row in rows}
    assert len(firings) == len(rows)  # no firing twice
    return firings


def expected_firings(lake: Lake, answers: Answers, *, scale: float = 1.0, first: int = 0) -> dict[Firing, float]:
    """The same by the contexts' token ids alone."""
    return {
        (first + feature, row["context_id"], position): scale * by_token[token_id]
        for row in rows_of(lake, "from contexts")
        for position, token_id in enumerate(row["token_ids"])
        for feature, by_token in answers.items()
        if token_id in by_token
    }


@pytest.fixture(scope="module")
def plain_lake(tiny_subject: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The activations of an experiment as it is, for tests that only read."""
    folder = tmp_path_factory.mktemp("plain")
    sections = {"subject": {"model": str(tiny_subject)}, "machine": {"flush_firings": 500}}
    return write_all(load_config(write_experiment(folder, **sections)))


# Right answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"corpus": {"prepend_bos": True}},
        {"corpus": {"shards": 5}, "machine": {"flush_firings": 100, "batch_tokens": 70}},
        {"machine": {"batch_tokens": 1}},
        {"subject": {"dtype": "bfloat16"}},
    ],
    ids=["plain", "with BOS", "many flushes and shards", "one context a pass", "bfloat16"],
)
def test_the_store_holds_exactly_the_firings_that_the_tokens_call_for(make_experiment, answers, sections):
    lake = write_all(make_experiment(**sections))
    found = firings_of(lake)
    assert found == expected_firings(lake, answers)
    assert {feature for feature, _, _ in found} == set(answers) and NEVER not in answers
    assert lake.is_complete("activations") and lake.is_complete("activation_shards")


def test_a_feature_on_every_token_fires_on_every_token_position_zero_included(plain_lake):
    [counts] = rows_of(plain_lake, "select sum(len(token_ids)) as n, count(*) as n_contexts from contexts")
    always = {firing for firing in firings_of(plain_lake) if firing[0] == ALWAYS}
    assert len(always) == counts["n"]
    assert sum(position == 0 for _, _, position in always) == counts["n_contexts"]


def test_flushes_shards_and_batches_leave_no_trace_in_the_files(make_experiment, tmp_path):
    contents = []
    for name, shards, machine in (("one", 1, {}), ("many", 4, {"flush_firings": 64, "batch_tokens": 128})):
        lake = write_all(make_experiment(tmp_path / name, corpus={"shards": shards}, machine=machine))
        flushes = len(list(lake.path("activation_shards", sae="hand-set", shard=0).iterdir()))
        assert (flushes > 5) == (name == "many")
        files = sorted(lake.path("activations", sae="hand-set").iterdir())
        contents.append([(path.name, pq.read_table(path)) for path in files])
    assert contents[0] == contents[1]


def test_a_store_is_made_of_more_files_than_a_process_may_hold_open(make_experiment):
    machine = {"flush_firings": 1, "batch_tokens": 1}
    lake = write_corpus_tables(make_experiment(corpus={"shards": 1}, machine=machine))
    write_activation_shards(lake, 0)
    write_activations(lake, "hand-set")  # what it loads once is open then
    n_files = len(list(lake.path("activation_shards", sae="hand-set", shard=0).glob("*.parquet")))
    n_open, limits = psutil.Process().num_fds(), resource.getrlimit(resource.RLIMIT_NOFILE)
    assert n_files > 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 30, limits[1]))
    try:
        write_activations(lake, "hand-set")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_rows_are_sorted_by_feature_and_place_without_repetition(plain_lake):
    for path in plain_lake.path("activations", sae="hand-set").iterdir():
        rows = pq.read_table(path, columns=["feature", "token_index"])
        keys = list(zip(rows["feature"].to_pylist(), rows["token_index"].to_pylist(), strict=True))
        assert keys == sorted(set(keys))


def test_the_view_tells_context_and_position_from_the_token_index(plain_lake):
    [row] = rows_of(
        plain_lake,
        f"""
        select count(*) as n_wrong from activations
        where token_index <> context_id * {CONTEXT_LENGTH} + position
            or position not between 0 and {CONTEXT_LENGTH - 1}
    """,
    )
    assert row["n_wrong"] == 0


def test_features_beyond_a_bucket_are_found_in_their_own_file(make_experiment, tmp_path, answers):
    write_hand_set_sae(tmp_path / "wide", dead_ids=2 * BUCKET_FEATURES - 2, n_features=10, k=16)
    n_features = 2 * BUCKET_FEATURES + 8
    config = make_experiment(
        saes=[hand_set_entry(tmp_path / "wide", n_features=n_features)], machine={"flush_firings": 900}
    )
    lake = write_all(config)
    files = sorted(lake.path("activations", sae="hand-set").iterdir())
    assert len(files) == n_buckets_of(n_features) == 3
    features = [set(pq.read_table(path)["feature"].to_pylist()) for path in files]
    assert features == [set(), {2046, 2047}, {2049, 2050}]
    assert firings_of(lake) == expected_firings(lake, answers, first=2 * BUCKET_FEATURES - 2)


def test_places_beyond_four_bytes_stand_beside_others_in_one_table(make_experiment, tmp_path):
    write_hand_set_sae(tmp_path / "wide", dead_ids=BUCKET_FEATURES, n_features=10)
    n_features = BUCKET_FEATURES + 10
    lake = write_corpus_tables(make_experiment(saes=[hand_set_entry(tmp_path / "wide", n_features=n_features)]))
    far = 2**31 + 5
    for shard, firing in enumerate([(3, 7), (BUCKET_FEATURES, far)]):
        with lake.writing(lake.path("activation_shards", sae="hand-set", shard=shard)) as folder:
            buffer = FiringBuffer(folder, "hand-set", n_features)
            feature, token_index = (np.array([value]) for value in firing)
            buffer.add(Firings(feature.astype(np.int32), token_index, np.ones(1, np.float32)))
            buffer.flush()
    files = sorted(write_activations(lake, "hand-set").path.iterdir())
    assert [pq.read_schema(path).field("token_index").type for path in files] == [pa.int32(), pa.int64()]
    found = rows_of(lake, "select feature, token_index from activations order by all")
    assert found == [{"feature": 3, "token_index": 7}, {"feature": BUCKET_FEATURES, "token_index": far}]


@pytest.mark.parametrize(
    ("format", "hookpoint", "centred"),
    [
        ("sparsify", "layers.1", False),
        ("saelens", "layers.1", False),
        ("openai", "layers.1", False),
        ("goodfire", "layers.1", False),
        ("sparsify", "blocks.1.hook_resid_post", False),
        ("sparsify", "resid_post.1", True),
    ],
)
def test_a_deeper_hookpoint_gives_what_the_sae_finds_in_the_models_own_states(
    make_experiment, tmp_path, format, hookpoint, centred
):
    path = LAYOUTS[format].write(tmp_path / "layers.1", random_weights(64, WIDTH, k=4))
    entry = {"name": "deep", "source": str(path), "hookpoint": hookpoint, "centred": centred, "n_features": 64}
    config = make_experiment(saes=[entry], corpus={"max_tokens": 600})
    lake = write_all(config)
    subject = load_subject(config.subject, "cpu")
    coder = load_sparse_coder(path)
    expected = {}
    for row in rows_of(lake, "from contexts"):
        states = subject.read(torch.tensor([row["token_ids"]]), [Hookpoint("layers.1")])[Hookpoint("layers.1")][0]
        if centred:
            states = states - states.mean(dim=-1, keepdim=True)
        encoding = coder.encode(states)
        for position, feature, value in zip(*map(torch.Tensor.tolist, encoding), strict=True):
            expected[feature, row["context_id"], position] = value
    found = firings_of(lake, "deep")
    assert (len(expected) == 4 * len({key[1:] for key in expected})) == (coder.k == 4)
    # Near-ties of the k-th value may fall either way, since batches are padded to other lengths here.
    assert len(found.keys() ^ expected.keys()) <= 0.001 * len(expected)
    shared = sorted(found.keys() & expected.keys())
    np.testing.assert_allclose(
        [found[key] for key in shared], [expected[key] for key in shared], rtol=2e-3, atol=1e-3
    )


# Numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 2.0**40, 2.0**-24, 1e-30])
def test_strengths_of_any_size_are_kept_to_eleven_bits(make_experiment, tmp_path, answers, scale):
    write_hand_set_sae(tmp_path / "sae", scale=scale)
    lake = write_all(make_experiment(machine={"flush_firings": 100}))
    expected = expected_firings(lake, answers, scale=scale)
    assert firings_of(lake) == pytest.approx(expected, rel=2.0**-11, abs=0)


def test_rounding_is_that_of_float16_where_float16_reaches():
    values = np.exp(np.random.default_rng(0).normal(0, 2, 10_000)).astype(np.float32)
    ties = np.float32(1) + np.arange(9, dtype=np.float32) * np.float32(2.0**-11)
    for each in (values, ties):
        np.testing.assert_array_equal(rounded(each), each.astype(np.float16).astype(np.float32))


def test_the_smallest_strength_is_still_a_firing():
    assert rounded(np.array([np.nextafter(np.float32(0), np.float32(1))]))[0] > 0


def test_a_kept_zero_is_no_firing(plain_lake):
    # k is the number of features: every token keeps all of them, most with a value of 0.
    assert min(firings_of(plain_lake).values()) > 0
    assert rows_of(plain_lake, f"from activations where feature = {NEVER}") == []


def test_only_the_k_strongest_are_kept(make_experiment, tmp_path, answers):
    write_hand_set_sae(tmp_path / "sae", k=1)
    lake = write_all(make_experiment())
    best: dict[tuple[int, int], float] = {}
    expected = expected_firings(lake, answers)
    for (_, *place), value in expected.items():
        best[tuple(place)] = max(best.get(tuple(place), 0), value)
    found = firings_of(lake)
    assert {(context, position): value for (_, context, position), value in found.items()} == best
    assert len(found) == len(best)
    assert {firing: value for firing, value in found.items() if firing[0] == STOP} == {
        firing: value for firing, value in expected.items() if firing[0] == STOP
    }


def test_an_sae_that_never_fires_has_an_empty_store(make_experiment, tmp_path):
    nothing = torch.zeros(8, WIDTH)
    write_sparsify(tmp_path / "sae", nothing, torch.full((8,), -1.0), nothing, torch.zeros(WIDTH), k=8)
    lake = write_all(make_experiment())
    assert firings_of(lake) == {}
    assert lake.is_complete("activations")


def test_a_model_that_gives_no_numbers_stops_the_run(make_experiment, tiny_subject, tmp_path):
    folder = shutil.copytree(tiny_subject, tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][:, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    lake = write_corpus_tables(make_experiment(subject={"model": str(folder)}))
    with pytest.raises(SubjectError, match=r"hookpoint 'embed_tokens' of .* gave values that are no numbers"):
        write_activation_shards(lake, 0)
    assert not lake.has("activation_shards", sae="hand-set", shard=0)


# Several SAEs, restarts -------------------------------------------------------------------------------


@pytest.fixture
def two_saes(tmp_path) -> list[dict[str, Any]]:
    write_random_sae(tmp_path / "deep")
    return [
        hand_set_entry(write_hand_set_sae(tmp_path / "sae")),
        {"name": "deep", "source": str(tmp_path / "deep"), "hookpoint": "layers.1", "n_features": 64},
    ]


def test_two_saes_in_one_pass_give_what_each_gives_alone(make_experiment, tmp_path, two_saes, answers):
    corpus = {"max_tokens": 1500}
    both = write_all(make_experiment(tmp_path / "both", saes=two_saes, corpus=corpus))
    alone = write_all(make_experiment(tmp_path / "alone", saes=two_saes[1:], corpus=corpus))
    assert firings_of(both) == expected_firings(both, answers)
    assert firings_of(both, "deep") == firings_of(alone, "deep") != {}
    assert {row["sae"]: row["n_features"] for row in rows_of(both, "from saes")} == {
        "hand-set": 8,
        "deep": 64,
    }


def test_an_sae_that_is_added_later_computes_only_its_own(make_experiment, two_saes):
    corpus = {"max_tokens": 1500}
    first = write_all(make_experiment(saes=two_saes[:1], corpus=corpus))
    before = {path: path.stat().st_mtime_ns for path in first.root.rglob("hand-set*/**/*") if path.is_file()}
    assert before
    config = make_experiment(saes=two_saes, corpus=corpus)
    lake = open_lake(config)
    write_saes(lake)
    passes = [write_activation_shards(lake, shard) for shard in range(2)]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert all(published.figures["tokens_read"] > 0 for published in passes)
    assert lake.is_complete("activation_shards")
    write_activations(lake, "deep")
    alone = write_all(make_experiment(lake.root / "alone", saes=two_saes[1:], corpus=corpus))
    assert firings_of(lake, "deep") == firings_of(alone, "deep")


def test_a_shard_that_is_there_is_not_read_again(make_experiment):
    lake = write_all(make_experiment())
    again = write_activation_shards(lake, 0)
    assert again.figures["tokens_read"] == 0
    first = lake.path("activation_shards", sae="hand-set", shard=0)
    assert (
        again.n_rows
        == again.figures["firings"]
        == sum(pq.read_metadata(path).num_rows for path in first.iterdir())
    )


def test_a_pass_that_breaks_off_leaves_no_shard_and_can_be_made_again(make_experiment, answers, monkeypatch):
    lake = write_corpus_tables(make_experiment(machine={"flush_firings": 64, "batch_tokens": 64}))
    run, calls = type(load_subject(lake.config.subject, "cpu")).run, []

    def break_off(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return run(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipeline.subject.forward.Subject.run", break_off)
        write_activation_shards(lake, 0)
    assert not lake.has("activation_shards", sae="hand-set", shard=0)
    assert not [path for path in (lake.root / ".tmp").rglob("*") if path.is_file()]
    for shard in range(2):
        write_activation_shards(lake, shard)
    write_activations(lake, "hand-set")
    assert firings_of(lake) == expected_firings(lake, answers)


def test_a_flush_that_fails_beside_the_pass_stops_the_run(make_experiment, monkeypatch):
    lake = write_corpus_tables(make_experiment(machine={"flush_firings": 64, "batch_tokens": 64}))

    def fill_the_disk(self, pending, path):
        raise OSError("No space left on device")

    monkeypatch.setattr("pipeline.firings.buffers.FiringBuffer._write", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        write_activation_shards(lake, 0)
    assert not lake.has("activation_shards", sae="hand-set", shard=0)


def test_whoever_hands_over_a_file_waits_while_every_writer_has_one():
    may_end, begun = Event(), []

    def write() -> None:
        begun.append(1)
        assert may_end.wait(60)

    buffer = SimpleNamespace(hand_over=lambda: write)
    with _Writers(2) as writers, ThreadPoolExecutor(1) as taker:
        three = taker.submit(lambda: [writers.write(buffer) for _ in range(3)])
        with pytest.raises(TimeoutError):
            three.result(0.2)
        assert len(begun) == 2
        may_end.set()
        assert len(three.result(60)) == 3
        writers.finish()
    assert len(begun) == 3


@pytest.mark.parametrize(
    ("n_cores", "device", "n_writers"),
    [(2, "cpu", 1), (16, "cpu", 4), (1, "cuda", 1), (4, "cuda", 2), (16, "cuda", 8), (128, "cuda", 8)],
)
def test_files_are_written_by_cores_that_the_pass_leaves(monkeypatch, n_cores, device, n_writers):
    monkeypatch.setattr(os, "cpu_count", lambda: n_cores)
    assert _n_writers(torch.device(device)) == n_writers


def test_each_sae_is_flushed_by_its_own_firings(make_experiment, tmp_path):
    write_hand_set_sae(tmp_path / "few", k=1)
    write_hand_set_sae(tmp_path / "all")
    saes = [hand_set_entry(tmp_path / name, name) for name in ("few", "all")]
    lake = write_corpus_tables(make_experiment(saes=saes, machine={"flush_firings": 60, "batch_tokens": 1}))
    write_activation_shards(lake, 0)
    n_files = {}
    for sae in ("few", "all"):
        files = sorted(lake.path("activation_shards", sae=sae, shard=0).glob("*.parquet"))
        *full, last = (pq.read_metadata(path).num_rows for path in files)
        assert all(n >= 60 for n in full) and last < 60
        n_files[sae] = len(files)
    assert 2 < n_files["few"] < n_files["all"]


def test_figures_are_the_tokens_and_firings_of_the_shard(make_experiment, answers):
    lake = write_corpus_tables(make_experiment())
    published = [write_activation_shards(lake, shard) for shard in range(2)]
    tokens = rows_of(lake, "select shard, sum(len(token_ids)) as n from contexts group by shard order by shard")
    assert [each.figures["tokens_read"] for each in published] == [row["n"] for row in tokens]
    assert sum(each.n_rows for each in published) == len(expected_firings(lake, answers))
    stored = write_activations(lake, "hand-set")
    assert stored.n_rows == len(expected_firings(lake, answers))
    assert stored.figures["bytes"] > 0


@pytest.mark.parametrize(
    ("make", "table"),
    [
        (lambda lake: write_activation_shards(lake, 0), "saes"),
        (lambda lake: write_activations(lake, "hand-set"), "activation_shards"),
        (lambda lake: write_contexts(lake, 0), "documents"),
        (lambda lake: make_table(lake, "slots"), "documents"),
    ],
)
def test_an_input_that_is_missing_is_named(make_experiment, make: Callable[[Lake], Published], table):
    with pytest.raises(LakeError, match=f"materialise 'tiny/{table}' first"):
        make(open_lake(make_experiment()))


def test_a_shard_without_contexts_is_named(make_experiment):
    lake = open_lake(make_experiment())
    write_saes(lake)
    with pytest.raises(
        LakeError, match="shard 1 of 'contexts' has not been made; materialise 'tiny/contexts' first"
    ):
        write_activation_shards(lake, 1)


def test_a_missing_shard_keeps_the_store_from_being_made(make_experiment):
    lake = write_corpus_tables(make_experiment())
    write_activation_shards(lake, 0)
    with pytest.raises(LakeError, match="'activation_shards' of SAE 'hand-set' is not complete"):
        write_activations(lake, "hand-set")
    assert not lake.has("activations", sae="hand-set")


def test_more_shards_than_contexts_leave_empty_shards(make_experiment, answers):
    config = make_experiment(corpus={"shards": 6, "max_tokens": 200})
    lake = write_all(config)
    assert firings_of(lake) == expected_firings(lake, answers)
    assert len({row["shard"] for row in rows_of(lake, "from contexts")}) < 6


def test_a_firing_that_stands_in_two_files_is_refused(make_experiment):
    lake = write_corpus_tables(make_experiment())
    for shard in range(2):
        write_activation_shards(lake, shard)
    folder = lake.path("activation_shards", sae="hand-set", shard=0)
    shutil.copy(folder / "00000.parquet", folder / "00001.parquet")
    with pytest.raises(LakeError, match="bucket 0 of SAE 'hand-set' holds a firing twice"):
        write_activations(lake, "hand-set")
    assert not lake.has("activations", sae="hand-set")


def test_a_firing_of_no_feature_of_the_sae_is_refused(make_experiment):
    lake = write_corpus_tables(make_experiment())
    with lake.scratch("buffer") as folder:
        buffer = FiringBuffer(folder / "shard", "hand-set", n_features=8)
        buffer.add(Firings(np.array([8], np.int32), np.array([3]), np.ones(1, np.float32)))
        with pytest.raises(LakeError, match="feature index outside 0 to 7"):
            buffer.flush()


def test_a_colour_fires_with_its_own_strength(plain_lake):
    rows = rows_of(
        plain_lake,
        f"""
        with spelled as (
            select context_id * {CONTEXT_LENGTH} + generate_subscripts(token_ids, 1) - 1 as token_index,
                unnest(token_ids) as token_id
            from contexts
        )
        select text, min(activation) as low, max(activation) as high
        from activations join spelled using (token_index) join tokens using (token_id)
        where feature = {COLOUR} group by text order by low
    """,
    )
    assert [tuple(row.values()) for row in rows] == [
        (" red", 1.0, 1.0),
        (" green", 2.0, 2.0),
        (" blue", 3.0, 3.0),
    ]
