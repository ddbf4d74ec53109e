"""What caching costs is measured with the real model before it starts; a disk that is too small stops it."""

from collections.abc import Callable, Iterator

import pytest
from tiny import CONTEXT_LENGTH, rows_of, write_corpus

from pipeline.config import Config
from pipeline.corpus.contexts import write_contexts
from pipeline.corpus.documents import write_documents
from pipeline.errors import LakeError
from pipeline.estimate import caching, times
from pipeline.estimate.caching import caching_cost, check_disk, in_bytes, in_time, pass_tokens
from pipeline.firings.write import write_activation_shards
from pipeline.lake import Lake
from pipeline.preflight import preflight
from pipeline.sae.write import write_saes

Experiment = Callable[..., Config]


def test_before_the_corpus_is_read_its_size_is_not_known_or_its_limit(make_experiment: Experiment) -> None:
    cost = caching_cost(preflight(make_experiment()))
    assert cost and cost.n_tokens is None and not cost.is_exact
    assert "the corpus has not been read yet; each 1,000,000 tokens" in cost.sentence()
    cost = caching_cost(preflight(make_experiment(corpus={"max_tokens": 5000})))
    assert cost and (cost.n_tokens, cost.is_exact) == (5000, False)
    assert "at most 5,000 tokens" in cost.sentence()


def test_the_cost_is_that_of_the_shards_that_are_left(make_experiment: Experiment) -> None:
    lake = preflight(make_experiment(machine={"batch_tokens": 2048}))
    write_documents(lake)
    write_saes(lake)
    whole = caching_cost(lake)
    [total] = rows_of(lake, "select sum(n_tokens)::int as n from documents")
    assert whole and whole.is_exact and whole.n_tokens == total["n"]
    write_contexts(lake, 0)
    published = write_activation_shards(lake, 0)
    half = caching_cost(lake)
    assert half and half.n_tokens and half.n_tokens + published.figures["tokens_read"] == total["n"]
    # Every token fires once, and one in six a second time; measured on the first texts.
    real = published.n_rows / int(published.figures["tokens_read"])
    assert half.firings_a_token == pytest.approx(real, rel=0.1)
    assert half.n_bytes(1000) == pytest.approx(1000 * half.firings_a_token * 3 * 2, abs=1)
    assert half.tokens_per_second > 0
    write_contexts(lake, 1)
    write_activation_shards(lake, 1)
    assert caching_cost(lake) is None


def test_a_disk_that_is_too_small_is_said_in_one_sentence(make_experiment: Experiment) -> None:
    lake = preflight(make_experiment())
    write_documents(lake)
    cost = caching_cost(lake)
    assert cost
    check_disk(lake, cost)
    with pytest.raises(LakeError, match=r"caching needs about .* kB, but '.*' has only 10 bytes free; put the"):
        check_disk(lake, cost._replace(free_bytes=10))
    check_disk(lake, cost._replace(free_bytes=10, is_exact=False))  # it may be less: nothing to stop for yet


def test_texts_shorter_than_a_context_are_measured_too(make_experiment: Experiment, tmp_path) -> None:
    path = write_corpus(tmp_path / "short", kind="jsonl", texts=["the cat", "a dog and a bird"])
    cost = caching_cost(preflight(make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path)}]})))
    assert cost and cost.firings_a_token >= 1 and CONTEXT_LENGTH > 10


def test_a_corpus_of_short_texts_alone_is_not_read_to_its_end(
    make_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def texts(lake: Lake) -> Iterator[list[int]]:
        nonlocal read
        for _ in range(100_000):
            read += 1
            yield [1, 2, 3]

    lake = preflight(make_experiment(machine={"batch_tokens": 128}))
    monkeypatch.setattr(caching, "first_texts", texts)
    batches = list(caching._first_batches(lake))
    n_contexts = max(1, pass_tokens(lake.config) // lake.config.corpus.context_length)
    assert [batch.n_tokens for batch in batches] == [3 * n_contexts] * 3
    assert read == 3 * n_contexts


def test_preparing_takes_as_long_as_the_model_reads_and_code_is_compiled(
    make_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = preflight(make_experiment(scrambling={"max_features": 2, "repeats": 3, "n_fillers": 4}))
    monkeypatch.setattr(times, "measure_firing", lambda *_: (1.0, 1e-3))
    monkeypatch.setattr(times, "_slowness", lambda _: 1.0)
    monkeypatch.setattr(times, "_is_compiled", lambda: True)
    monkeypatch.setattr(times, "_n_firings", lambda *_: 2_000_000)
    names = ["feature_logits", "feature_stats", "scrambled_contexts", "feature_rules"]
    missing = dict.fromkeys(lake.config.sae_names, names)
    n_saes = len(missing)
    n_tokens = n_saes * 2 * times._TOKENS_A_CANDIDATE * 3 * 5
    own = n_saes * (4 * times._SECONDS_A_TABLE + 2 * (0.05 + 0.2)) + 1000 * n_tokens
    said = f"preparing: statistics, rules and examples from {n_saes * 2_000_000:,} firings in about "
    assert times.preparing_sentence(lake, missing) == said + in_time(own)
    monkeypatch.setattr(times, "_is_compiled", lambda: False)
    assert times.preparing_sentence(lake, missing) == said + in_time(own + times._COMPILE_SECONDS)


def test_of_tables_to_be_prepared_only_the_missing_ones_take_time(
    make_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = preflight(make_experiment())
    monkeypatch.setattr(times, "_scrambling_seconds", lambda *_: 0.0)
    monkeypatch.setattr(times, "_slowness", lambda _: 1.0)
    monkeypatch.setattr(times, "_is_compiled", lambda: False)
    seconds = in_time(2 * times._SECONDS_A_TABLE)
    sentence = times.preparing_sentence(lake, {"hand-set": ["feature_routes", "feature_neighbours"]})
    assert sentence == f"preparing: feature_routes, feature_neighbours in about {seconds}"
    monkeypatch.setattr(times, "_n_firings", lambda *_: 1_000_000)
    sentence = times.preparing_sentence(lake, {"hand-set": ["feature_cofirings"]})
    seconds = in_time(times._SECONDS_A_TABLE + 0.24 + times._COMPILE_SECONDS)
    assert sentence == f"preparing: feature_cofirings from 1,000,000 firings in about {seconds}"


def test_sizes_and_times_are_for_people() -> None:
    assert [in_bytes(n) for n in (10, 1234, 5.76e7, 2.5e12)] == ["10 bytes", "1.23 kB", "57.6 MB", "2.5 TB"]
    assert [in_time(n) for n in (0.25, 90, 600, 86_400)] == ["0.25 s", "90 s", "10 min", "24 h"]
    assert in_time(864_000) == "10 days"
