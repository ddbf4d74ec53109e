"""Generation and intervention: their scores are what theory says of whoever writes and chooses."""

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import torch
from rich.console import Console
from tiny import ANIMAL, rows_of, stored

from pipeline.errors import CorpusError
from pipeline.estimate.printing import print_estimate
from pipeline.estimate.write import estimate
from pipeline.explainers.write import write_explanations
from pipeline.features import steered_texts
from pipeline.features.steered_texts import write_steered_texts
from pipeline.lake import Lake
from pipeline.llm import Answer
from pipeline.llm.local.model import load_local_model
from pipeline.make_table import make_table
from pipeline.models.causal import load_causal
from pipeline.scorers.generation import is_usable, texts_of
from pipeline.scorers.write import write_predictions
from pipeline.tables import TABLES

pytestmark = pytest.mark.whole

SAE = "hand-set"
WRITTEN = ["generation", "intervention", "intervention_surprisal"]
"""Scorers that judge by texts which a model writes."""
TRUE = {"false_positive_rate": 0.0, "false_negative_rate": 0.0}
COIN = {"false_positive_rate": 0.5, "false_negative_rate": 0.5}
YES = {"false_positive_rate": 1.0, "false_negative_rate": 0.0}
NO = {"false_positive_rate": 0.0, "false_negative_rate": 1.0}
Z_999 = 3.2905
STEERING = {
    **{"modes": ["steer", "ablate"], "target_kls": [0.3, 2.0], "pool": 3, "n_held_out": 16},
    **{"n_trials": 5, "set_size": 3, "prompt_tokens": 8, "new_tokens": 6},
}

Open = Callable[..., Lake]


def opened(lake_of: Open, name: str, oracle: dict[str, float], **scoring: Any) -> Lake:
    """A lake whose explanations and, where they are read, steered texts are made."""
    keys = {"generation": {"n_texts": 20}, "intervention": STEERING, **scoring}
    lake = lake_of(scoring={"scorers": [name], "oracle": oracle, **keys})
    if not lake.has("explanations", sae=SAE, batch=0):
        write_explanations(lake, SAE, 0)
    if name != "generation" and not lake.has("steered_texts", sae=SAE, batch=0):
        write_steered_texts(lake, SAE, 0)
    return lake


def judge(lake_of: Open, name: str, oracle: dict[str, float], **scoring: Any) -> tuple[pl.DataFrame, list[dict]]:
    """The predictions of a scorer, and its scores."""
    lake = opened(lake_of, name, oracle, **scoring)
    if not lake.has("scores", sae=SAE, batch=0):  # another test may have judged it
        write_predictions(lake, SAE, 0)
        make_table(lake, "scores", sae=SAE, batch=0)
    return stored(lake, "predictions", sae=SAE, batch=0), rows_of(lake, f"from scores where scorer = '{name}'")


def own(scores: list[dict]) -> list[dict]:
    """Scores of explanations that are no controls."""
    return [row for row in scores if row["explainer"] in {"default", "rule"}]


def test_texts_by_true_explanations_fire_and_near_misses_do_not(lake_of: Open) -> None:
    predictions, scores = judge(lake_of, "generation", TRUE)
    assert len(own(scores)) == 3
    for row in own(scores):
        assert row["balanced_accuracy"] == row["recall"] == row["auroc"] == row["coverage"] == 1, row
    for row in scores:
        if row["explainer"] == "empty":
            assert row["balanced_accuracy"] == 0.5 and row["auroc"] == 0.5
        if row["explainer"] == "other_feature":
            assert row["ci_low"] <= 0.5 <= row["ci_high"]
    written = predictions.filter(pl.col("prediction"))
    assert written["text"].null_count() == 0 and written["probability"].min() > 0
    assert set(written["decile"]) <= set(range(1, 11)) and written["decile"].null_count() == 0
    assert predictions.filter(~pl.col("prediction"))["probability"].max() == 0
    assert predictions["request_id"].null_count() == 0 == predictions["label"].null_count()
    for row in written.iter_rows(named=True):  # where in a text it fires is kept
        assert len(row["token_ids"]) == len(row["values"]) and max(row["values"][1:]) == row["probability"]


@pytest.mark.parametrize(("oracle", "recall", "alarms"), [(YES, 1.0, 1.0), (NO, 0.0, 0.0)])
def test_texts_of_one_kind_are_worth_one_half(
    lake_of: Open, oracle: dict[str, float], recall: float, alarms: float
) -> None:
    predictions, scores = judge(lake_of, "generation", oracle)
    assert {(row["balanced_accuracy"], row["recall"]) for row in own(scores)} == {(0.5, recall)}
    ids = [row["explanation_id"] for row in own(scores)]
    near = predictions.filter(pl.col("explanation_id").is_in(ids) & ~pl.col("label"))
    assert near["prediction"].mean() == alarms


def test_texts_of_a_coin_fire_half_of_the_time(lake_of: Open) -> None:
    predictions, scores = judge(lake_of, "generation", COIN)
    read = predictions.filter(pl.col("explanation_id").is_in([row["explanation_id"] for row in own(scores)]))
    for label in (True, False):
        fires = read.filter(label=label)["prediction"].drop_nulls()
        assert len(fires) >= 50
        assert abs(float(fires.mean()) - 0.5) <= Z_999 * 0.5 / math.sqrt(len(fires))


@pytest.mark.parametrize(("n_repeated", "usable"), [(0, True), (4, True), (5, False), (12, False)])
def test_an_answer_is_asked_for_again_only_if_too_few_of_its_texts_can_be_judged(
    lake_of: Open, n_repeated: int, usable: bool
) -> None:
    lake = lake_of(scoring={"scorers": ["generation"], "oracle": TRUE, "generation": {"n_texts": 10}})
    assert lake.config.scoring.min_coverage == 0.8
    tools: Any = SimpleNamespace(config=lake.config, batch=SimpleNamespace(lake=lake))
    texts = [f"text number {max(0, number - n_repeated)} stop" for number in range(20)]
    answer = Answer("r", "ok", json.dumps({"active": texts[:10], "near_misses": texts[10:]}))
    assert is_usable(tools)(answer) is usable
    assert not is_usable(tools)(Answer("r", "ok", "no texts")), "of none"


def test_a_near_miss_may_differ_from_a_text_in_case_or_punctuation_alone(lake_of: Open) -> None:
    lake = lake_of(scoring={"scorers": ["generation"], "oracle": TRUE, "generation": {"n_texts": 3}})
    tools: Any = SimpleNamespace(config=lake.config, batch=SimpleNamespace(lake=lake))
    active, near = ["one fox stop!", "One fox stop", "the red cat"], ["one fox stop", "the red cat ", "a dog"]
    texts = texts_of(Answer("r", "ok", json.dumps({"active": active, "near_misses": near})), tools)
    assert [text.status for text in texts] == ["ok", "repeated", "ok", "ok", "repeated", "ok"]


@pytest.mark.parametrize(
    ("oracle", "status"), [({**TRUE, "refusal_rate": 1.0}, "refused"), ({**TRUE, "garbled_rate": 1.0}, "unparsed")]
)
@pytest.mark.parametrize("name", ["generation", "intervention"])
def test_no_answer_is_a_status_and_never_a_label(
    lake_of: Open, name: str, oracle: dict[str, float], status: str
) -> None:
    predictions, scores = judge(lake_of, name, oracle)
    assert set(predictions["status"]) == {status} and predictions.height > 100
    assert predictions["prediction"].null_count() == predictions["probability"].null_count() == predictions.height
    for row in scores:
        assert [row[figure] for figure in ("balanced_accuracy", "accuracy", "recall", "auroc")] == [None] * 4
        assert row["n_scored"] == 0 < row["n_unscored"] and row["reason"] == "coverage 0.00 is under 0.80"


def test_who_knows_the_continuations_chooses_rightly_and_who_does_not_guesses(lake_of: Open) -> None:
    predictions, scores = judge(lake_of, "intervention", TRUE)
    assert len(own(scores)) == 3
    for row in own(scores):
        assert row["accuracy"] >= 0.8 and row["accuracy_low"] > row["chance"] == pytest.approx(1 / 3), row
    ids = [row["explanation_id"] for row in scores if row["explainer"] == "empty"]
    guesses = predictions.filter(pl.col("explanation_id").is_in(ids))["prediction"]
    assert abs(guesses.mean() - 1 / 3) <= Z_999 * math.sqrt(2 / 9 / len(guesses))
    assert {each for row in predictions["strata"] for each in row} == {"kl 0.3", "kl 2.0", "ablate"}
    assert set(predictions["n_choices"]) == {3}
    assert all(row["accuracy"] <= 0.2 for row in own(judge(lake_of, "intervention", NO)[1]))


@pytest.mark.parametrize("error_rate", [0.5, 2 / 3])
def test_who_errs_chooses_rightly_as_often_as_not_erring_allows(lake_of: Open, error_rate: float) -> None:
    knows = float(judge(lake_of, "intervention", TRUE)[0]["prediction"].mean())
    found = judge(lake_of, "intervention", {**TRUE, "false_negative_rate": error_rate})[0][
        "prediction"
    ].drop_nulls()
    # An error takes one of the other two sets, of which one is right where no error would have been wrong.
    wanted = knows * (1 - error_rate) + (1 - knows) * error_rate / 2
    assert len(found) >= 100
    assert abs(float(found.mean()) - wanted) <= Z_999 * math.sqrt(wanted * (1 - wanted) / len(found))


def test_right_sets_stand_in_every_place_alike_and_texts_are_never_shown_twice(lake_of: Open) -> None:
    lake = opened(lake_of, "intervention", TRUE)
    write_predictions(lake, SAE, 0)
    asked = rows_of(lake, "from llm_requests where purpose = 'intervention'")
    assert len({row["request_id"] for row in asked}) == len(asked) >= 100
    for row in asked:
        assert row["messages"][1]["content"].count("\nchanged: ") == 9


def test_steered_texts_depend_on_their_feature_alone_and_go_on_after_a_kill(
    lake_of: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = opened(lake_of, "intervention", TRUE)
    rows = stored(lake, "steered_texts", sae=SAE, batch=0)
    assert set(rows["status"]) == {"ok"} and rows["continuation"].null_count() == 0
    steered = rows.filter(mode="steer")
    assert ((steered["kl"] / steered["target_kl"] - 1).abs() <= 0.01).all()
    assert (steered["continuation"] != steered["unsteered"]).mean() > 0.5
    lake.path("steered_texts", sae=SAE, batch=0).unlink()

    def killed(self: Any, feature: int) -> Any:
        if feature == ANIMAL:
            raise KeyboardInterrupt
        return in_order(self, feature)

    in_order = steered_texts.Steering.rows
    monkeypatch.setattr(steered_texts.Steering, "rows", killed)
    # Another order, and an end before all are steered.
    monkeypatch.setattr(steered_texts, "steered_features", lambda *_: [1, ANIMAL, 0])
    with pytest.raises(KeyboardInterrupt):
        write_steered_texts(lake, SAE, 0)
    monkeypatch.setattr(steered_texts.Steering, "rows", in_order)
    published = write_steered_texts(lake, SAE, 0)
    assert published.figures["features_steered"] == 2
    assert stored(lake, "steered_texts", sae=SAE, batch=0).equals(rows)
    assert write_steered_texts(lake, SAE, 0).figures["features_steered"] == 0


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"prompt_tokens": 65}, "has 0 train contexts of 65 tokens, but finding a strength takes at least 2"),
        (
            {"n_trials": 1000, "set_size": 2},
            "test documents with a context of 8 tokens, but n_trials x set_size is 2000",
        ),
    ],
)
def test_a_corpus_with_too_few_texts_says_which(lake_of: Open, keys: dict[str, int], sentence: str) -> None:
    with pytest.raises(CorpusError, match=sentence):
        opened(lake_of, "intervention", TRUE, intervention={**STEERING, **keys})


def test_continuations_are_ranked_by_how_much_likelier_they_make_the_explanation(lake_of: Open) -> None:
    lake = opened(lake_of, "intervention_surprisal", TRUE)
    write_predictions(lake, SAE, 0)
    make_table(lake, "scores", sae=SAE, batch=0)
    rows = stored(lake, "predictions", sae=SAE, batch=0)
    assert set(rows["status"]) == {"ok"} and rows["request_id"].null_count() == rows.height
    assert rows.filter("label").height == rows.filter(~pl.col("label")).height == 9 * 15 * 3
    for row in rows_of(lake, "from scores where scorer = 'intervention_surprisal'"):
        assert (row["auroc"] == 0.5) == (row["explainer"] == "empty") and row["coverage"] == 1
    # The sums are those of the definition.
    local, model = load_local_model(lake.config.subject, "cpu"), load_causal(lake.config.subject, "cpu")
    tokenizer = local.tokenizer
    before = ["one fox", "the stop of all that"]
    for prefix, found in zip(before, local.log_probabilities(before, " red cat"), strict=True):
        ids, n_own = tokenizer(prefix).input_ids + tokenizer(" red cat", add_special_tokens=False).input_ids, 2
        with torch.inference_mode():
            said = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)[range(len(ids) - 1), ids[1:]]
        assert found == pytest.approx(float(said[-n_own:].sum()), abs=1e-4)


def test_the_estimate_counts_and_prints_requests_and_the_tokens_that_the_subject_reads(
    lake_of: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {"false_positive_rate": 0.25, "false_negative_rate": 0.0}  # of whom nothing is recorded
    own_steering = {**STEERING, "target_kls": [0.5], "n_trials": 2}
    scoring = {"scorers": ["generation", "intervention"], "oracle": rates, "intervention": own_steering}
    lake = lake_of(explaining={"explainers": ["rule"]}, scoring=scoring)
    found = estimate(lake, SAE)
    rows = {row["purpose"]: row for row in found.to_pylist() if not row["is_control"]}
    counts = [each.name for each in TABLES["estimate"].columns if each.type == pa.int64()]
    assert {name for name in counts if found[name].null_count} == {"batch_waits"}
    print_estimate(pl.DataFrame(found), 3, Console(width=200))
    printed = capsys.readouterr().out
    assert "the subject model reads" in printed and "tokens for steered_texts" in printed
    write_explanations(lake, SAE, 0)
    write_steered_texts(lake, SAE, 0)
    sent = write_predictions(lake, SAE, 0).figures["requests_sent"]
    of_scorers = pl.DataFrame(found).filter(pl.col("purpose").is_in(["generation", "intervention"]))
    assert of_scorers["requests"].sum() == sent
    assert rows["steered_texts"]["requests"] == 0 < rows["steered_texts"]["subject_tokens"]
    assert rows["generation"]["subject_tokens"] > 100 and rows["intervention"]["subject_tokens"] == 0
