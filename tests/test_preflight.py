"""Bad input is found before anything is computed: one sentence each, and no table."""

import gc
import json
import logging
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sae_layouts import LAYOUTS, random_weights, write_json
from safetensors.torch import load_file, save_file
from tiny import (
    WIDTH,
    hand_set_entry,
    write_corpus,
    write_hand_set_sae,
    write_learned_positions,
    write_random_sae,
)

from pipeline.config import Config
from pipeline.corpus.documents import write_documents
from pipeline.corpus.slots import check_first_texts
from pipeline.errors import ConfigError, CorpusError, LakeError, LatentlakeError, SaeError, SubjectError
from pipeline.estimate.caching import caching_cost
from pipeline.lake import CATALOG_FILE, open_catalog
from pipeline.preflight import look, preflight
from pipeline.sae import load_sae
from pipeline.sources import SOURCES_FILE, recorded_lake
from pipeline.tables import TABLES

Sections = dict[str, Any]


class Case(NamedTuple):
    """A bad experiment: what is changed below a folder, and what the message must say."""

    change: Callable[[Path], Sections]
    error: type[LatentlakeError]
    says: tuple[str, ...]


def sae_entry(folder: Path, **changes: Any) -> Sections:
    return {"saes": [{**hand_set_entry(write_hand_set_sae(folder / "sae")), **changes}]}


def damaged_sae(folder: Path) -> Sections:
    path = write_hand_set_sae(folder / "sae") / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    return {}


def narrow_sae(folder: Path) -> Sections:
    return {"saes": [{**hand_set_entry(write_random_sae(folder / "sae", d_in=16)), "n_features": 64}]}


def texts(folder: Path, *texts: str) -> Sections:
    path = write_corpus(folder / "texts", kind="jsonl", texts=texts)
    return {"corpus": {"sources": [{"kind": "jsonl", "path": str(path)}]}}


def served(**endpoint: Any) -> Sections:
    return {
        "explaining": {"provider": "openai", "model": "gpt-4o-mini"},
        "scoring": {"provider": "openai", "model": "gpt-4o-mini"},
        "endpoints": {"explainer": endpoint, "scorer": {"base_url": "https://api.openai.com/v1"}},
    }


def below_a_file(folder: Path) -> Sections:
    (folder / "file").write_text("x")
    return {"machine": {"lake": str(folder / "file" / "lake")}}


CASES = {
    "no such hookpoint": Case(
        lambda folder: sae_entry(folder, hookpoint="layer.1"),
        SubjectError,
        ("'layer.1'", "nearest: 'layers.1'"),
    ),
    "an SAE of another width": Case(
        narrow_sae, SaeError, ("'hand-set'", "width 16", "'embed_tokens'", "width 32")
    ),
    "another number of features": Case(
        lambda folder: sae_entry(folder, n_features=9), SaeError, ("has 8 features", "n_features: 9")
    ),
    "a damaged SAE file": Case(damaged_sae, SaeError, ("sae.safetensors", "damaged")),
    "no SAE folder": Case(lambda folder: sae_entry(folder, source=str(folder / "none")), SaeError, ("no folder",)),
    "an empty corpus": Case(
        lambda folder: texts(folder, "  ", "\n"), CorpusError, ("corpus is empty", "corpus.jsonl")
    ),
    "a corpus of no rows": Case(lambda folder: texts(folder), CorpusError, ("corpus is empty",)),
    "no such corpus": Case(
        lambda folder: {"corpus": {"sources": [{"kind": "text", "path": str(folder / "none")}]}},
        CorpusError,
        ("no file at", "none"),
    ),
    "a second corpus that is not there": Case(
        lambda folder: {
            "corpus": {
                "sources": [
                    *texts(folder, "some text")["corpus"]["sources"],
                    {"kind": "text", "path": str(folder / "none")},
                ]
            }
        },
        CorpusError,
        ("no file at", "none"),
    ),
    "no such column": Case(
        lambda folder: {
            "corpus": {"sources": [{**texts(folder, "some text")["corpus"]["sources"][0], "text_field": "body"}]}
        },
        CorpusError,
        ("line 1", "has no 'body'"),
    ),
    "a lake below a file": Case(below_a_file, LakeError, ("cannot be written", "LATENTLAKE_LAKE")),
    "a lake that DuckDB does not open": Case(
        lambda folder: {"machine": {"lake": str(folder / "why?")}}, LakeError, ("why?", "contains a '?'")
    ),
    "a lake that DuckDB takes for two folders": Case(
        lambda folder: {"machine": {"lake": str(folder / "one, two")}},
        LakeError,
        ("contains a ','", "LATENTLAKE_LAKE"),
    ),
    "a lake that DuckDB looks for elsewhere": Case(
        lambda folder: {"machine": {"lake": str(folder / "back\\slash")}}, LakeError, ("contains a '\\'",)
    ),
    "an unknown device": Case(lambda folder: {"machine": {"device": "gpu0"}}, SubjectError, ("device 'gpu0'",)),
    "a condition with a slip": Case(
        lambda folder: {"selection": {"where": "densty > 0.001"}}, ConfigError, ("densty", "density")
    ),
    "an address that is none": Case(
        lambda folder: served(base_url="api.openai.com/v1"),
        ConfigError,
        ("endpoints.explainer", "'api.openai.com/v1' is not an address"),
    ),
    "a key that is not set": Case(
        lambda folder: served(base_url="https://api.openai.com/v1", api_key_env="A_KEY_THAT_IS_NOT_SET"),
        ConfigError,
        ("endpoints.explainer", "'A_KEY_THAT_IS_NOT_SET' is not set"),
    ),
    "no such local LLM": Case(
        lambda folder: {"scoring": {"model": str(folder / "no model")}}, SubjectError, ("no folder", "no model")
    ),
    "an SAE of another place": Case(
        lambda folder: {
            "saes": [
                {
                    "name": "deep",
                    "source": str(write_random_sae(folder / "layers.0")),
                    "hookpoint": "layers.1",
                    "n_features": 64,
                    "fit": "check",
                }
            ]
        },
        SaeError,
        ("'deep'", "names hookpoint 'layers.0'", "says 'layers.1'", "saes.hookpoint"),
    ),
    "no such subject": Case(
        lambda folder: {"subject": {"model": str(folder / "no model")}},
        SubjectError,
        ("no folder", "no model"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence_and_no_table(make_experiment, tmp_path, name):
    case = CASES[name]
    config = make_experiment(**case.change(tmp_path))
    with pytest.raises(LatentlakeError) as caught:
        preflight(config)
    message = str(caught.value)
    assert type(caught.value) is case.error
    assert "\n" not in message and not message.endswith(".")
    assert all(part in message for part in case.says), message
    assert not config.lake_folder.exists()


@pytest.mark.skipif(os.access("/", os.W_OK), reason="this user may write everywhere")
def test_a_lake_in_a_folder_that_may_not_be_written_is_refused(make_experiment, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(LakeError, match="cannot be written"):
        preflight(make_experiment(machine={"lake": str(tmp_path / "locked")}))


def test_a_good_experiment_opens_a_lake_with_views_and_no_rows(make_experiment):
    lake = preflight(make_experiment())
    with open_catalog(lake.root) as connection:
        for name in TABLES:
            assert connection.execute(f"select count(*) from {name}").fetchone() == (0,)
    assert lake.hashes.corpus and lake.hashes.saes["hand-set"]


def test_checking_twice_is_checking_once(make_experiment):
    config = make_experiment()
    assert preflight(config).hashes == preflight(config).hashes


def test_saes_are_loaded_one_at_a_time_and_not_again_once_they_have_passed(make_experiment, tmp_path, monkeypatch):
    source = write_hand_set_sae(tmp_path / "sae")
    loaded = []

    def load(sae):
        gc.collect()
        assert not any(earlier() for earlier in loaded)
        coder = load_sae(sae)
        loaded.append(weakref.ref(coder))
        return coder

    def experiment(**changes):
        return make_experiment(saes=[{**hand_set_entry(source, name), **changes} for name in ("a", "b", "c")])

    monkeypatch.setattr("pipeline.preflight.saes.load_sae", load)
    preflight(experiment())
    assert len(loaded) == 3
    preflight(experiment())
    assert len(loaded) == 3
    with pytest.raises(SaeError, match="has 8 features, but the config says n_features: 9"):
        preflight(experiment(n_features=9))
    assert len(loaded) == 6
    (source / "cfg.json").write_text((source / "cfg.json").read_text() + " ")
    with pytest.raises(SaeError, match="is not the one that this lake was made with"):
        preflight(experiment())


def test_a_corpus_that_was_read_is_not_opened_again(make_experiment, monkeypatch):
    config = make_experiment()
    write_documents(preflight(config))
    for module in ("pipeline.preflight.corpus", "pipeline.sources.reading"):
        monkeypatch.setattr(f"{module}.read_texts", lambda *_: pytest.fail("opened"))
    lake = preflight(config)
    cost = caching_cost(lake)
    assert cost and cost.is_exact and cost.firings_a_token >= 1
    with pytest.raises(pytest.fail.Exception, match="opened"):
        preflight(make_experiment(seed=1))  # whose documents are others


def test_a_look_records_nothing_and_moves_no_view(make_experiment):
    lake = preflight(make_experiment())
    n_documents = write_documents(lake).n_rows
    before = [(lake.root / name).read_bytes() for name in (CATALOG_FILE, SOURCES_FILE)]
    edited = make_experiment(seed=1, saes=[{**hand_set_entry(lake.config.saes[0].source), "name": "more"}])
    seen = look(edited)
    assert seen.hashes.corpus == lake.hashes.corpus and seen.hashes.saes == {"more": ""}
    assert not seen.has("documents") and caching_cost(seen)
    recorded_lake(edited).clean()  # which keeps what the catalog's views are on
    assert [(lake.root / name).read_bytes() for name in (CATALOG_FILE, SOURCES_FILE)] == before
    with open_catalog(lake.root) as connection:
        assert connection.execute("select count(*) from documents").fetchone() == (n_documents,)


def test_a_look_before_the_first_run_fixes_nothing(make_experiment):
    config = make_experiment(subject={"dtype": "auto"})
    lake = look(config)
    assert not config.lake_folder.exists()
    assert lake.config.subject.dtype in {"float32", "bfloat16"}
    check_first_texts(lake)
    cost = caching_cost(lake)
    assert cost and cost.firings_a_token >= 1
    assert {path.name for path in config.lake_folder.iterdir()} <= {".tmp"}
    assert preflight(config).hashes.dtype


def test_a_source_that_changed_since_is_found(make_experiment, tmp_path):
    config = make_experiment()
    preflight(config)
    (tmp_path / "corpus" / "0000.txt").write_text("other text")
    with pytest.raises(CorpusError, match="has changed"):
        preflight(config)


def test_bos_that_the_tokenizer_lacks_is_refused(make_experiment, tiny_subject, tmp_path):
    folder = shutil.copytree(tiny_subject, tmp_path / "no bos")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("bos_token")
    path.write_text(json.dumps(settings))
    config: Config = make_experiment(subject={"model": str(folder)}, corpus={"prepend_bos": True})
    with pytest.raises(CorpusError, match="has no BOS token"):
        preflight(config)
    assert not config.lake_folder.exists()


def test_who_sends_no_request_needs_no_key(make_experiment):
    sections = served(base_url="https://api.openai.com/v1", api_key_env="A_KEY_THAT_IS_NOT_SET")
    preflight(make_experiment(**sections, budget={"max_requests": 0}))


@pytest.mark.parametrize(
    ("name", "is_said"), [("transformer.h.1", True), ("layer_9", True), ("sae", False), ("gpt2", False)]
)
def test_an_saes_folder_that_names_a_place_of_another_model_is_said(
    make_experiment, tmp_path, caplog, name, is_said
):
    folder = write_random_sae(tmp_path / name)
    entry = {"name": "deep", "source": str(folder), "hookpoint": "layers.1", "n_features": 64}
    with caplog.at_level(logging.WARNING):
        preflight(make_experiment(saes=[entry]))
    assert [record.getMessage() for record in caplog.records if name in record.getMessage()] == (
        [
            f"SAE 'deep' at '{folder}' names hookpoint '{name}', which "
            f"'{make_experiment().subject.model}' does not have; using 'layers.1' from the config"
        ]
        if is_said
        else []
    )


@pytest.mark.parametrize(
    ("folder", "hookpoint"),
    [
        ("layers.1", "resid_post.1"),
        ("blocks.1.hook_resid_post", "layers.1"),
        ("model.layers.1.output", "resid_pre.2"),
        ("mlp_out.1", "layers.1.mlp.down_proj"),
    ],
)
def test_the_place_that_an_saes_files_name_is_told_by_any_of_its_names(
    make_experiment, tmp_path, caplog, folder, hookpoint
):
    entry = {"name": "deep", "hookpoint": hookpoint, "n_features": 64}
    entry["source"] = str(write_random_sae(tmp_path / folder))
    with caplog.at_level(logging.WARNING):
        preflight(make_experiment(saes=[entry]))
    assert "names hookpoint" not in caplog.text


@pytest.mark.parametrize(
    ("folder", "hookpoint"), [("blocks.1.hook_resid_pre", "resid_post.1"), ("mlp_in.1", "mlp_out.1")]
)
def test_another_place_is_refused_by_any_of_its_names(make_experiment, tmp_path, folder, hookpoint):
    entry = {"name": "deep", "hookpoint": hookpoint, "n_features": 64, "fit": "check"}
    entry["source"] = str(write_random_sae(tmp_path / folder))
    with pytest.raises(SaeError, match=f"names hookpoint '{folder}', but the config says '{hookpoint}'"):
        preflight(make_experiment(saes=[entry]))


@pytest.mark.parametrize(
    ("hookpoint", "is_right"),
    [("layers.1", True), ("layers.1.output", True), ("layers.2.input", True), ("layers.2", False)],
)
def test_a_modules_path_means_its_output_whatever_an_saes_files_call_their_place(
    make_experiment, tmp_path, hookpoint, is_right
):
    folder = LAYOUTS["saelens"].write(tmp_path / "sae", random_weights(64, WIDTH, k=4))
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["hook_name"] = "blocks.2.hook_resid_pre"
    write_json(folder / "cfg.json", config)
    entry = {"name": "deep", "source": str(folder), "hookpoint": hookpoint, "n_features": 64, "fit": "check"}
    if is_right:
        preflight(make_experiment(saes=[entry]))
    else:
        with pytest.raises(SaeError, match=r"names hookpoint 'blocks\.2\.hook_resid_pre'"):
            preflight(make_experiment(saes=[entry]))


def test_a_transcoder_is_held_to_the_width_of_what_it_reconstructs(make_experiment, tmp_path):
    folder = write_random_sae(tmp_path / "sae", transcode=True)
    entry = {"name": "t", "source": str(folder), "hookpoint": "layers.1.mlp.up_proj", "n_features": 64}
    says = r"has width 32, .* 'layers\.1\.mlp\.up_proj' .* the output of 'layers\.1\.mlp\.up_proj', .* width 64"
    with pytest.raises(SaeError, match=says):
        preflight(make_experiment(saes=[entry]))


def test_contexts_longer_than_a_models_positions_are_refused_or_said(make_experiment, tmp_path, caplog):
    subject = write_learned_positions(tmp_path / "gpt2", n_positions=64)
    entry = {"name": "s", "source": str(write_random_sae(tmp_path / "sae")), "hookpoint": "h.1", "n_features": 64}
    learned = {"saes": [entry], "subject": {"model": str(subject)}}
    preflight(make_experiment(**learned, corpus={"context_length": 64}))
    says = r"context_length is 65, but '.*gpt2' has only 64 positions; set corpus\.context_length to 64 or less"
    with pytest.raises(SubjectError, match=says):
        preflight(make_experiment(tmp_path / "long", **learned, corpus={"context_length": 65}))
    with caplog.at_level(logging.WARNING):
        preflight(make_experiment(tmp_path / "rotary", corpus={"context_length": 1024}))
        assert "was made for" not in caplog.text
        preflight(make_experiment(tmp_path / "further", corpus={"context_length": 2048}))
    assert "context_length is 2048, but" in caplog.text and "was made for at most 1024 tokens" in caplog.text


def test_a_transcoder_is_held_to_the_width_of_the_input(make_experiment, tmp_path):
    folder = write_random_sae(tmp_path / "sae", d_in=64, transcode=True)
    stored = load_file(folder / "sae.safetensors")
    stored |= {name: stored[name][..., :32].contiguous() for name in ("W_dec", "b_dec")}
    save_file(stored, folder / "sae.safetensors")
    entry = {"name": "t", "source": str(folder), "hookpoint": "layers.0.mlp.down_proj", "n_features": 64}
    preflight(make_experiment(saes=[entry]))  # down_proj is 64 wide where it reads, 32 where it writes
    save_file(
        {**stored, "encoder.weight": stored["encoder.weight"][:, :32].contiguous()},
        folder / "sae.safetensors",
    )
    with pytest.raises(SaeError):
        preflight(make_experiment(tmp_path / "other", saes=[entry]))
