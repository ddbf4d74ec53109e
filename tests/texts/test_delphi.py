"""delphi's cache in the place of texts and a forward pass: its rows, its firings, and what is refused."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec
import numpy as np
import pytest
from delphi_cache import ROW, rows_of_tokens, write_cache
from fsspec.implementations.local import LocalFileSystem
from runs import materialise_all
from safetensors.numpy import load_file, save_file
from tiny import COLOUR, NEVER, STOP, hand_set_entry, open_lake, rows_of, write_hand_set_sae, write_random_sae

from pipeline.config import Config, DelphiRows
from pipeline.corpus.contexts import write_contexts
from pipeline.corpus.documents import write_documents
from pipeline.errors import ConfigError, CorpusError, SaeError
from pipeline.estimate.times import reading_sentence
from pipeline.exports import Export, delphi_latents, exported_sae
from pipeline.features.logits import write_feature_logits
from pipeline.features.neighbours import write_feature_neighbours
from pipeline.firings.store import write_activations
from pipeline.firings.write import write_activation_shards
from pipeline.fit.write import write_sae_fit
from pipeline.lake import Lake
from pipeline.preflight import preflight
from pipeline.sae.write import write_saes
from pipeline.sources import fixing
from pipeline.texts import delphi
from pipeline.texts.tensors import TensorFile

pytestmark = pytest.mark.whole

SAE = {"name": "hand-set", "hookpoint": "embed_tokens", "n_features": 8}
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def tokens(tiny_subject: Path) -> np.ndarray:
    return rows_of_tokens(tiny_subject)


@pytest.fixture
def cached(make_experiment: Any, tmp_path: Path, tokens: np.ndarray, answers: Any) -> Callable[..., Config]:
    """A function that writes a cache and a config that reads it, without the SAE's weights."""

    def make(**sections: Any) -> Config:
        if not (tmp_path / "latents").exists():
            write_cache(tmp_path / "latents", tokens, answers)
        source = {"kind": "delphi", "path": str(tmp_path / "latents")}
        return make_experiment(**{"saes": [SAE], "corpus": {"sources": [source]}, **sections})

    return make


def cache_all(config: Config) -> Lake:
    lake = open_lake(config)
    write_saes(lake)
    write_documents(lake)
    write_sae_fit(lake)
    for shard in range(config.corpus.shards):
        write_contexts(lake, shard)
        write_activation_shards(lake, shard)
    for sae in config.sae_names:
        write_activations(lake, sae)
    return lake


def test_every_row_is_a_document_and_every_firing_comes_as_delphi_has_it(cached, tokens, answers):
    lake = cache_all(cached())
    documents = rows_of(lake, "from documents order by first_context_id")
    assert [row["token_ids"] for row in documents] == tokens.tolist()
    assert {row["role"] for row in documents} == {"train", "test"} and documents[0]["source"].endswith("latents")
    contexts = rows_of(lake, "from contexts order by context_id")
    assert [row["token_ids"] for row in contexts] == tokens.tolist()
    found = rows_of(lake, "select feature, context_id, position, activation from activations")
    expected = {
        (feature, row, position): answers[feature][token]
        for row, line in enumerate(tokens.tolist())
        for position, token in enumerate(line)
        for feature in answers
        if token in answers[feature]
    }
    assert {(row["feature"], row["context_id"], row["position"]): row["activation"] for row in found} == expected
    assert len(found) == len(expected) > 500


def everything_expected(tokens: np.ndarray, answers: Any) -> list[tuple[int, int, int]]:
    return sorted(
        (feature, row, position)
        for row, line in enumerate(tokens.tolist())
        for position, token in enumerate(line)
        for feature in answers
        if token in answers[feature]
    )


def everything_found(lake: Lake) -> list[tuple[int, int, int]]:
    rows = rows_of(lake, "select feature, context_id, position from activations")
    return sorted((row["feature"], row["context_id"], row["position"]) for row in rows)


def test_a_shard_reads_its_own_part_of_a_cache_at_a_url(cached, tmp_path, tokens, answers, monkeypatch):
    write_cache(tmp_path / "latents", tokens, answers)
    fsspec.filesystem("memory").put(str(tmp_path / "latents"), "/bucket/latents", recursive=True)
    read: list[int] = []
    some_rows = TensorFile.some_rows

    def recorded(self: TensorFile, name: str, parts: Any) -> Any:
        found = some_rows(self, name, parts)
        read.append(sum(len(each) for each in found) if name == "activations" else 0)
        return found

    monkeypatch.setattr(TensorFile, "some_rows", recorded)
    source = {"kind": "delphi", "path": "memory://bucket/latents"}
    config = cached(corpus={"sources": [source], "shards": 4})
    preflight(config)
    lake = cache_all(config)
    expected = everything_expected(tokens, answers)
    assert everything_found(lake) == expected
    assert len(expected) <= sum(read) < 1.1 * len(expected)
    name = "/bucket/latents/embed_tokens/2_4.safetensors"
    fsspec.filesystem("memory").pipe(name, fsspec.filesystem("memory").cat(name) + b"0")
    with pytest.raises(SaeError, match="is not the one that this lake"):
        open_lake(config)


def test_locations_in_another_order_are_all_found_or_the_run_stops(cached, tmp_path, tokens, answers, monkeypatch):
    config = cached()
    path = tmp_path / "latents" / "embed_tokens" / "2_4.safetensors"
    tensors = load_file(path)
    columns = ("locations", "activations")
    save_file({**tensors, **{name: tensors[name][::-1].copy() for name in columns}}, path)
    assert everything_found(cache_all(config)) == everything_expected(tokens, answers)
    monkeypatch.setattr(delphi, "_MARKS", 5)
    for name in columns:
        tensors[name][[1, -2]] = tensors[name][[-2, 1]]  # neither is looked at
    save_file(tensors, path)
    other = cached(name="other", corpus={**config.corpus.model_dump(mode="json"), "shards": 4})
    with pytest.raises(CorpusError, match="were found: its locations are not sorted by row throughout"):
        cache_all(other)


def test_a_cache_on_the_hub_is_read_by_the_hubs_filesystem(tmp_path, tokens, answers, monkeypatch):
    write_cache(tmp_path / "latents", tokens, answers)

    class Hub(LocalFileSystem):
        """The hub's names, with files here."""

        protocol, cachable = "hf", False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            name = path.removeprefix("hf://").removeprefix(f"{tmp_path}/")
            return f"{tmp_path}/{name.removeprefix('datasets/owner/name/').removeprefix('owner/name@v1/')}"

    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "hf", Hub)
    for url in ("hf://datasets/owner/name/latents", "hf://owner/name@v1/latents"):
        source = DelphiRows(kind="delphi", path=url)
        assert [list(row) for row in delphi.read_rows(source.folder)] == tokens.tolist()


def test_equal_rows_are_kept_and_share_a_role(cached, tmp_path, tokens, answers):
    twice = np.concatenate([tokens[:20], tokens[:20]])
    write_cache(tmp_path / "latents", twice, answers)
    lake = cache_all(cached())
    roles = [row["role"] for row in rows_of(lake, "select role from documents order by first_context_id")]
    assert len(roles) == 40 and roles[:20] == roles[20:]


def test_what_the_weights_would_tell_is_empty_and_said_so(cached, caplog):
    lake = cache_all(cached())
    written = [write_feature_neighbours(lake, "hand-set"), write_feature_logits(lake, "hand-set")]
    for each in written:
        assert (each.n_rows, each.figures) == (0, {"empty": "the SAE's weights are not available"})
    assert "feature_logits of 'hand-set' is empty: the SAE's weights are not available" in caplog.text
    [row] = rows_of(lake, "from saes")
    assert (row["format"], row["n_features"], row["d_in"]) == ("delphi", 8, None)
    assert rows_of(lake, "from sae_fit") == []
    assert "fits" not in reading_sentence(lake)


def test_with_its_weights_the_sae_is_tried_and_its_firings_come_from_the_cache(cached, tmp_path, answers):
    config = cached(saes=[hand_set_entry(write_hand_set_sae(tmp_path / "sae", scale=2.0))])
    lake = cache_all(config)
    assert rows_of(lake, "from sae_fit") != []
    assert reading_sentence(lake).endswith("each SAE fits")
    assert write_feature_neighbours(lake, "hand-set").n_rows > 0
    [strongest] = rows_of(lake, "select max(activation) as most from activations")
    assert strongest["most"] == max(max(each.values()) for each in answers.values())  # not twice that


def test_a_cache_that_has_changed_stops_the_run(cached, tmp_path, tokens, answers):
    config = cached()
    open_lake(config)
    path = tmp_path / "latents" / "embed_tokens" / "2_4.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "activations": tensors["activations"] * 2}, path)
    with pytest.raises(SaeError, match=r"SAE 'hand-set' at .*embed_tokens' is not the one that this lake"):
        open_lake(config)
    save_file(tensors, path)
    open_lake(config)
    first = tmp_path / "latents" / "embed_tokens" / "0_1.safetensors"
    save_file({**load_file(first), "tokens": tokens[::-1].copy()}, first)
    with pytest.raises(CorpusError, match="latents' has changed since"):
        open_lake(config)


def test_a_cache_whose_files_are_as_they_were_is_not_read_again(cached, tmp_path, monkeypatch):
    config = cached()
    open_lake(config)
    monkeypatch.setattr(fixing, "rows_digest", pytest.fail)
    open_lake(config)
    monkeypatch.undo()
    os.utime(tmp_path / "latents" / "embed_tokens" / "0_1.safetensors", ns=(1, 1))
    open_lake(config)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def make(tensors: dict[str, Any]) -> None:
        tensors[name] = change(tensors[name])

    return make


def put(name: str, value: Any, *place: int) -> Change:
    def make(tensors: dict[str, Any]) -> None:
        tensors[name][place] = value

    return make


@pytest.mark.parametrize("change, says", [
    (lambda tensors: tensors.pop("tokens"), "it has no tokens; have delphi save its tokens too"),
    (lambda tensors: tensors.pop("locations"), "it has no locations"),
    (changed("tokens", lambda each: each.astype(np.float32)), "tokens are F32, not I64 or I32"),
    (changed("activations", lambda each: each.astype(np.float64)), "activations are F64, not F16 or F32"),
    (changed("locations", lambda each: each.astype(np.uint8)), "locations are U8, not U16 or U32 or I64"),
    (changed("locations", lambda each: each[:-1]), "do not go together"),
    (changed("tokens", lambda each: each[:-1]), "has other tokens than the first file of"),
    (put("locations", 60, 0, 0), "a location is in row 60, and there are tokens of 60 rows"),
    (put("locations", 64, 0, 1), "a location is at position 64, past the end of its row's tokens"),
    (put("locations", 3, 0, 2), "a location is of feature 5, which is not among those of the file's name"),
    (put("activations", np.inf, 0), "too large for float16"),
    (put("activations", -1, 0), "an activation is -1; only features that fire above 0 are read"),
    (put("tokens", -1, 0, 0), "token -1 is not a token id"),
    (changed("tokens", lambda each: each[:, ::-1].copy()), "has other tokens than the first file of"),
])  # fmt: skip
def test_a_file_that_cannot_be_is_refused_in_words(cached, tmp_path, change, says):
    config = cached()
    path = tmp_path / "latents" / "embed_tokens" / "2_4.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(CorpusError, match=says) as caught:
        cache_all(config)
    assert "2_4.safetensors'" in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_file_is_refused_in_words(cached, tmp_path):
    config = cached()
    path = tmp_path / "latents" / "embed_tokens" / "2_4.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorpusError, match=r"2_4.safetensors' is damaged or cannot be read"):
        cache_all(config)


@pytest.mark.parametrize("old, new, says", [
    ("2_4", "1_4", "0_1.safetensors and 1_4.safetensors overlap"),
    ("2_4", "3_4", "0_1.safetensors and 3_4.safetensors leave features out between them"),
    ("0_1", "1_1", "begins with feature 1, not with 0"),
    ("5_7", "5_9", "has 10 features, but the config says n_features: 8"),
])  # fmt: skip
def test_splits_that_are_not_all_features_once_are_refused(cached, tmp_path, old, new, says):
    config = cached()
    folder = tmp_path / "latents" / "embed_tokens"
    (folder / f"{old}.safetensors").rename(folder / f"{new}.safetensors")
    with pytest.raises(CorpusError, match=says):
        preflight(config)


def test_tokens_of_another_tokenizer_are_refused(cached, tmp_path, tokens, answers):
    other = tokens.copy()
    other[0, 5] = 30_000
    write_cache(tmp_path / "latents", other, answers)
    with pytest.raises(CorpusError, match=r"token 30000 is not among the .*; it was tokenised for another model"):
        preflight(cached())


def test_a_cache_of_another_model_is_warned_of(cached, tmp_path, tiny_subject, caplog):
    config = cached()
    preflight(config)
    assert "was made with the model 'EleutherAI/pythia-70m', and subject.model is" in caplog.text
    caplog.clear()
    said = json.dumps({"model_name": str(tiny_subject)})
    (tmp_path / "latents" / "embed_tokens" / "config.json").write_text(said)
    preflight(config)
    assert "was made with the model" not in caplog.text


def test_rows_that_do_not_fit_a_context_are_refused_with_the_right_length(cached, tmp_path):
    source = {"kind": "delphi", "path": str(tmp_path / "latents")}
    with pytest.raises(CorpusError, match=f"have {ROW} tokens; set corpus.context_length: {ROW}"):
        preflight(cached(corpus={"sources": [source], "context_length": 32}))
    with pytest.raises(CorpusError, match=r"has no folder .*layers.0"):
        preflight(cached(saes=[{**SAE, "hookpoint": "layers.0"}]))


@pytest.mark.parametrize("corpus, says", [
    ({"max_tokens": 100}, "max_tokens cannot be used with a source of kind delphi"),
    ({"prepend_bos": True}, "prepend_bos cannot be used with a source of kind delphi"),
    ({"max_document_tokens": 32}, "max_document_tokens is below context_length"),
    ({"sources": [{"kind": "python"}, {"kind": "delphi", "path": "latents"}]}, "must be the only source"),
    ({"sources": [{"kind": "python"}]}, "the source of SAE 'hand-set' is missing"),
])  # fmt: skip
def test_a_config_that_would_cut_the_rows_or_has_no_firings_is_refused(cached, tmp_path, corpus, says):
    source = {"kind": "delphi", "path": str(tmp_path / "latents")}
    with pytest.raises(ConfigError, match=says):
        cached(corpus={"sources": [source], **corpus})


def test_a_scorer_that_needs_the_weights_is_refused_before_the_run(cached):
    with pytest.raises(SaeError, match="generation needs the weights of SAE 'hand-set'"):
        preflight(cached(scoring={"scorers": ["generation"], "provider": "oracle"}))


@pytest.mark.whole
def test_a_run_over_a_cache_goes_to_scores_without_the_weights(cached, tmp_path, tiny_subject, answers):
    write_cache(tmp_path / "latents", rows_of_tokens(tiny_subject, 240), answers)
    explaining = {"provider": "oracle", "explainers": ["rule", "default"], "n_examples": 10}
    config = cached(explaining=explaining, scoring={"provider": "oracle", "n_questions": 10})
    with dg.DagsterInstance.ephemeral() as instance:
        lake = materialise_all(config, instance)
    routes = {row["feature"]: row["route"] for row in rows_of(lake, "from feature_routes")}
    assert routes[STOP] == routes[COLOUR] == "rule" and routes[NEVER] == "dead"
    told = rows_of(lake, "from explanations where explainer = 'rule' and status = 'ok'")
    assert {row["feature"] for row in told} >= {STOP, COLOUR}
    scores = rows_of(lake, "from scores where scorer = 'rule_exact' and explainer = 'rule' and role = 'test'")
    assert {row["f1"] for row in scores if row["feature"] in {STOP, COLOUR}} == {1.0}
    asked = rows_of(lake, "from scores where scorer = 'detection' and explainer = 'default' and role = 'test'")
    assert asked and all(row["n_scored"] > 0 for row in asked)


def test_what_is_exported_comes_back_to_the_last_bit(make_experiment, tmp_path, monkeypatch):
    saes = [hand_set_entry(write_hand_set_sae(tmp_path / "sae"))]
    other = str(write_random_sae(tmp_path / "other", n_features=1100))
    saes.append({"name": "random", "source": other, "hookpoint": "layers.0", "n_features": 1100})
    first = cache_all(make_experiment(tmp_path / "first", saes=saes))
    monkeypatch.setattr(delphi_latents, "_FIRINGS_A_SPLIT", 100)  # a bucket a file
    out = tmp_path / "out"
    with first.connect() as connection:
        named = tuple(exported_sae(first.config, sae) for sae in first.config.saes)
        delphi_latents.write(Export(first, connection, out, named))
    assert sorted(path.name for path in out.glob("latents/layers.0/*")) == [
        "0_1023.safetensors", "1024_1099.safetensors", "config.json",
    ]  # fmt: skip
    bare = [{key: value for key, value in sae.items() if key != "source"} for sae in saes]
    source = {"kind": "delphi", "path": str(out / "latents")}
    second = cache_all(make_experiment(tmp_path / "second", saes=bare, corpus={"sources": [source]}))
    for rows in ("select context_id, token_ids from contexts order by all", "from activations order by all"):
        assert rows_of(first, rows) == rows_of(second, rows)
    lengths = {len(row["token_ids"]) for row in rows_of(first, "from contexts")}
    assert len(lengths) > 1  # ends of documents are shorter, and stay so


def test_an_activation_that_float16_cannot_hold_is_exported_in_float32(make_experiment, tmp_path):
    sae = hand_set_entry(write_hand_set_sae(tmp_path / "sae", scale=2.0**20))
    lake = cache_all(make_experiment(saes=[sae]))
    with lake.connect() as connection:
        named = (exported_sae(lake.config, lake.config.saes[0]),)
        delphi_latents.write(Export(lake, connection, tmp_path / "out", named))
    [path] = (tmp_path / "out").rglob("*.safetensors")
    assert load_file(path)["activations"].max() == 4 * 2.0**20
