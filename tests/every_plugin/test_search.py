"""Explainers that choose: of several explanations the one that predicts best, on train windows alone."""

import re
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from oracles import ANIMALS_TOLD
from pydantic import ValidationError
from test_every_explainer import explain
from tiny import ANIMAL, open_lake, rows_of

from pipeline.asking.judging import Verdict, balanced_accuracy
from pipeline.asking.windows import load_vocabulary
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.estimate.write import estimate
from pipeline.explainers.base import Explanation
from pipeline.explainers.refinement import misses_of
from pipeline.explainers.searching import chosen, judged
from pipeline.explainers.write import write_explanations
from pipeline.features.token_changes import write_token_changes
from pipeline.lake import Lake
from pipeline.llm import Answer, Request
from pipeline.llm.oracle.judges import literal
from pipeline.llm.oracle.prompts import read_question
from pipeline.plugins import find_plugin
from pipeline.scorers.write import write_predictions

pytestmark = pytest.mark.whole

SAE = "hand-set"
PLANTS, TOO_BROAD = 'the words "rose" and "oak"', f'{ANIMALS_TOLD} "and" "the" "of"'


def model(explanations: Callable[[Request], str], status: Any = "ok") -> Callable[[Request], Answer]:
    """A model that explains as told, and judges by the words of an explanation, literally."""

    def answering(request: Request) -> Answer:
        asked = read_question(request.messages[-1].content)
        if asked is None:
            return Answer(request.request_id, "ok", f"[EXPLANATION]: {explanations(request)}")
        said = asked.answer([literal(asked.explanation, text) for text in asked.texts])
        return Answer(request.request_id, status, said if status == "ok" else None)

    return answering


def drawn(*words: str) -> Callable[[Request], str]:
    """What each draw says."""
    return lambda request: words[request.draw % len(words)]


@pytest.fixture
def searching(lake_of: Any) -> Lake:
    explaining = {"explainers": ["best_of_k", "refinement"], "best_of_k": {"k": 3}}
    return lake_of(explaining=explaining, scoring={"questions_per_prompt": 1})


def test_the_draw_that_predicts_best_on_train_windows_is_chosen(searching: Lake) -> None:
    rows, asked = explain(searching, "best_of_k", model(drawn(PLANTS, TOO_BROAD, ANIMALS_TOLD)))
    by_draw = {row["draw"]: row for row in rows}
    assert by_draw.keys() == {0, 1, 2} and {row["feature"] for row in rows} == {ANIMAL}
    assert [row["is_chosen"] for row in rows] == [False, False, True]
    assert by_draw[0]["train_score"] == 0.5 and by_draw[2]["train_score"] == 1.0
    assert by_draw[0]["train_score"] <= by_draw[1]["train_score"] < 1.0
    drafts = [each.request for each in asked.asked if each.request.purpose == "best_of_k"]
    assert len({request.request_id for request in drafts}) == 3
    assert {request.temperature for request in drafts} == {1.0}
    assert {each.request.purpose for each in asked.asked} == {
        *("best_of_k", "best_of_k_judging", "refinement", "refinement_judging")
    }
    named = {request_id for row in rows for request_id in row["judge_request_ids"]}
    judging = {each.request.request_id for each in asked.asked if each.request.purpose == "best_of_k_judging"}
    assert named == judging and len(judging) == 3 * 20


def test_windows_that_judge_are_train_windows_that_are_shown_to_nobody(searching: Lake) -> None:
    rows, _ = explain(searching, "best_of_k", model(drawn(PLANTS, ANIMALS_TOLD)))
    windows = rows_of(searching, "from examples where is_judge")
    assert {row["role"] for row in windows} == {"train"}
    shown = {example_id for row in rows for example_id in row["example_ids"]}
    assert shown and not shown & {row["example_id"] for row in windows}
    own = pl.DataFrame(windows).filter(pl.col("feature") == ANIMAL)
    assert own.filter(kind="activating").height == 20
    assert 10 <= own.filter(pl.col("kind") != "activating").height <= 20
    other = rows_of(searching, "select feature, context_id, start from examples group by all having count(*) > 1")
    assert other == []


def test_draws_that_say_the_same_are_told_and_judged_once(searching: Lake) -> None:
    rows, asked = explain(searching, "best_of_k", model(drawn(PLANTS, ANIMALS_TOLD, PLANTS)))
    assert [row["same_as_draw"] for row in rows] == [None, None, 0]
    assert rows[0]["judge_request_ids"] == rows[2]["judge_request_ids"]
    judging = [each for each in asked.asked if each.request.purpose == "best_of_k_judging"]
    assert len(judging) == 2 * 20
    rows, asked = explain(searching, "best_of_k", model(drawn(PLANTS)))
    assert [row["is_chosen"] for row in rows] == [True, False, False]
    assert {row["train_score"] for row in rows} == {None}
    assert not [each for each in asked.asked if each.request.purpose == "best_of_k_judging"]


def test_at_temperature_0_all_draws_would_be_one_answer() -> None:
    with pytest.raises(ValidationError, match="at temperature 0 all draws are the same answer, paid for k times"):
        find_plugin("explainers", "best_of_k").settings(temperature=0)


@pytest.mark.parametrize(
    "name, of, words",
    [
        ("best_of_k", "rule", "'rule' does not ask a model"),
        ("refinement", "output_centric", "'output_centric' does not show windows with marks"),
        ("refinement", "token_pairs", "'token_pairs' does not show windows with marks"),
        ("refinement", "combined", "'combined' also shows promoted tokens, which refinement's later rounds"),
        ("refinement", "logit_weights", "'logit_weights' also shows promoted tokens"),
        ("refinement", "contrastive", "also shows the list of marked tokens and silent windows"),
    ],
)
def test_what_cannot_be_built_on_is_refused_before_a_run(lake_of: Any, name: str, of: str, words: str) -> None:
    config = lake_of(explaining={"explainers": [name], name: {"of": of}}).config
    with pytest.raises(ConfigError, match=words):
        find_plugin("explainers", name).check(config)


@pytest.mark.parametrize("name, of", [("best_of_k", "refinement"), ("best_of_k", "best_of_k")])
def test_what_is_itself_built_on_an_explainer_is_no_config(lake_of: Any, name: str, of: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.of: '{of}' is itself built on an explainer"):
        lake_of(explaining={"explainers": [name], name: {"of": of}})


def test_a_feature_with_too_few_windows_to_judge_by_is_explained_once_and_not_judged(lake_of: Any) -> None:
    shown = {"sampling": "random", "n_examples": 100}  # which leaves few train windows that judge
    explaining = {"explainers": ["best_of_k", "refinement"], "best_of_k": {"k": 3}, **shown}
    lake = lake_of(explaining=explaining, scoring={"questions_per_prompt": 1})
    rows_left = rows_of(lake, f"from examples where is_judge and feature = {ANIMAL} and kind = 'activating'")
    assert 0 < len(rows_left) < 5
    for name in ("best_of_k", "refinement"):
        rows, asked = explain(lake, name, model(drawn(PLANTS, TOO_BROAD, ANIMALS_TOLD)))
        [row] = rows
        assert (row["draw"], row["is_chosen"], row["train_score"], row["judge_request_ids"]) == (0, True, None, [])
        assert row["status"] == "ok" and not [each for each in asked.asked if "judging" in each.request.purpose]


def test_draws_of_output_centric_show_the_tokens_of_its_method(lake_of: Any) -> None:
    seen = {}
    for tokens in ("promoted", "changed"):
        own = {"explainers": ["best_of_k"], "best_of_k": {"of": "output_centric", "k": 2}}
        lake = lake_of(explaining={**own, "output_centric": {"tokens": tokens}})
        if tokens == "changed":
            write_token_changes(lake, SAE, 0)
        _, asked = explain(lake, "best_of_k", model(drawn(PLANTS)))
        [seen[tokens]] = {each.request.messages[-1].content for each in asked.asked}
    vocabulary = load_vocabulary(lake)
    [row] = rows_of(lake, f"select promoted, suppressed from token_changes where feature = {ANIMAL}")
    changed, lowered = (vocabulary.listed(each["token_id"] for each in tokens) for tokens in row.values())
    assert seen["changed"].splitlines()[:2] == [f"Likelier: {changed}", f"Less likely: {lowered}"]
    assert seen["promoted"].splitlines()[0] != seen["changed"].splitlines()[0]


def test_what_settings_add_to_a_prompt_that_shows_windows_alone_is_refused_too(lake_of: Any) -> None:
    def check(**own: bool) -> None:
        base = {"refinement": {"of": "chain_of_thought"}, "chain_of_thought": own}
        config = lake_of(explaining={"explainers": ["refinement"], **base}).config
        find_plugin("explainers", "refinement").check(config)

    check(show_activations=True)
    with pytest.raises(ConfigError, match="'chain_of_thought' also shows promoted tokens"):
        check(show_logits=True)


def test_an_explanation_is_made_better_by_what_it_misses(searching: Lake) -> None:
    def explaining(request: Request) -> str:
        return ANIMALS_TOLD if "Explanation so far" in request.messages[-1].content else PLANTS

    rows, asked = explain(searching, "refinement", model(explaining))
    assert [row["explanation"] for row in rows] == [PLANTS, ANIMALS_TOLD]  # which misses nothing: it ends
    told = [(row["draw"], row["train_score"], row["is_chosen"]) for row in rows]
    assert told == [(0, 0.5, False), (1, 1.0, True)]
    windows = {row["example_id"]: row for row in rows_of(searching, "from examples")}
    first, second = (set(row["example_ids"]) for row in rows)
    misses = [windows[example_id] for example_id in second - first]
    assert len(misses) == 5 == len(rows[1]["example_ids"]) - len(first), "each miss once"
    # Those that are shown do not judge: they are of the other half.
    assert all(each["is_judge"] and each["draw"] % 2 == 1 and each["kind"] == "activating" for each in misses)
    [improving] = [
        each.request.messages[-1].content for each in asked.asked
        if "Explanation so far" in each.request.messages[-1].content
    ]  # fmt: skip
    judging = [each.request for each in asked.asked if each.request.purpose == "refinement_judging"]
    assert len(judging) == len({request.request_id for request in judging}), "what has ended is not judged again"
    assert f"\nExplanation so far: {PLANTS}\n" in improving and "the reader thought so:\nnone\n" in improving


def test_numbers_in_a_refinements_prompt_are_explained_and_on_one_scale(lake_of: Any) -> None:
    def explaining(request: Request) -> str:
        return ANIMALS_TOLD if "Explanation so far" in request.messages[-1].content else PLANTS

    own = {"explainers": ["refinement"], "refinement": {"of": "with_activations"}}
    lake = lake_of(explaining=own, scoring={"questions_per_prompt": 1})
    rows, asked = explain(lake, "refinement", model(explaining))
    [improving] = [
        each.request.messages for each in asked.asked
        if "Explanation so far" in each.request.messages[-1].content
    ]  # fmt: skip
    assert "how active the feature is on it, from 0 to 10" in improving[0].content
    peaks = {row["example_id"]: max(row["activations"]) for row in rows_of(lake, "from examples")}
    largest = max(peaks[example_id] for example_id in rows[1]["example_ids"])
    seen = sorted(rows[1]["example_ids"], key=lambda example_id: peaks[example_id])
    numbers = [int(number) for number in re.findall(r" \((\d+)\)>>", improving[1].content)]
    assert max(numbers) == 10 and min(numbers) <= round(10 * peaks[seen[0]] / largest) < 10


def test_a_refinement_that_says_the_same_again_ends_and_the_better_first_one_stays(searching: Lake) -> None:
    def explaining(request: Request) -> str:
        return PLANTS if "Explanation so far" in request.messages[-1].content else TOO_BROAD

    rows, _ = explain(searching, "refinement", model(explaining))
    assert [row["explanation"] for row in rows] == [TOO_BROAD, PLANTS, PLANTS]
    assert [row["is_chosen"] for row in rows] == [True, False, False]
    assert [row["same_as_draw"] for row in rows] == [None, None, 1]


def test_where_judging_failed_the_next_run_asks_again(searching: Lake) -> None:
    for status in ("budget", "http_error"):
        for name in ("best_of_k", "refinement"):
            rows, _ = explain(searching, name, model(drawn(PLANTS, ANIMALS_TOLD), status))
            assert {(row["status"], row["explanation"]) for row in rows} == {(status, None)}
            assert sum(row["is_chosen"] for row in rows) == 1


@pytest.mark.parametrize("name", ["best_of_k", "refinement"])
def test_one_judging_request_that_failed_leaves_the_choice_to_the_next_run(searching: Lake, name: str) -> None:
    answering = model(drawn(PLANTS, ANIMALS_TOLD))

    def failing_once(request: Request) -> Answer:
        is_one = request.purpose == f"{name}_judging" and request.request_id < "1"
        return Answer(request.request_id, "http_error") if is_one else answering(request)

    rows, asked = explain(searching, name, failing_once)
    assert 1 <= sum(each.request.request_id < "1" for each in asked.asked) < 20
    [best] = [row for row in rows if row["is_chosen"]]
    assert (best["status"], best["explanation"]) == ("http_error", None)
    rows, _ = explain(searching, name, answering)
    [best] = [row for row in rows if row["is_chosen"]]
    assert best["status"] == "ok"


def verdict(draw: int, fires: bool, said: bool | None, status: str = "ok") -> Verdict:
    return Verdict(f"x{draw}{fires}", [], [], draw, fires, said, status, None)


def test_too_few_answers_are_no_score() -> None:
    answers = [verdict(1, True, True), verdict(2, True, False), verdict(1, False, False), verdict(2, False, None)]
    assert balanced_accuracy(answers, 0.5) == 0.75
    assert balanced_accuracy(answers, 0.8) is None
    assert balanced_accuracy(answers[:2], 0.0) is None


def test_of_equal_scores_the_first_is_chosen_whatever_their_rates_are() -> None:
    drafts = []
    for draw, right in enumerate(((6, 7), (5, 8))):
        said = [verdict(n, fires, fires == (n < right[not fires])) for fires in (True, False) for n in range(10)]
        drafts.append(Explanation(0, f"words {draw}", draw=draw, train_score=balanced_accuracy(said, 0.8)))
    assert [each.is_chosen for each in chosen(drafts)] == [True, False]


def test_misses_are_what_the_judge_says_wrongly_and_no_unread_answer() -> None:
    answers = [verdict(3, True, False), verdict(1, True, False), verdict(2, True, None), verdict(1, False, True)]
    missed, mistaken = misses_of([*answers, verdict(5, False, False)], 1)
    assert [each.example_id for each in missed] == ["x1True"]
    assert [each.example_id for each in mistaken] == ["x1False"]


def test_what_cannot_be_used_is_chosen_only_where_nothing_can() -> None:
    failed, said = Explanation(0, None, "unparsed"), Explanation(0, "words", draw=1)
    assert [each.is_chosen for each in chosen([failed, said])] == [False, True]
    assert [each.is_chosen for each in chosen([failed, failed._replace(draw=1)])] == [True, False]
    unanswered = Explanation(0, None, "budget", draw=2)
    assert [each.is_chosen for each in chosen([failed, said, unanswered])] == [False, False, True]
    assert judged(said, (), Config.model_fields["scoring"].default).train_score is None


def test_the_oracle_rehearses_a_search_whose_requests_are_within_the_estimate(copied_lake: Any) -> None:
    from pipeline.make_table import make_table

    explaining = {
        "explainers": ["default", "best_of_k", "refinement"],
        "oracle": {"wrong_rate": 0.5},
        "best_of_k": {"k": 6},
    }
    lake = copied_lake()(explaining=explaining, scoring={"scorers": ["detection"]})
    rows = pl.DataFrame(estimate(lake, SAE))
    sums = rows.group_by("purpose").agg(pl.col("least_requests", "requests").sum())
    bounds = {purpose: (least, most) for purpose, least, most in sums.iter_rows()}
    for table in ("examples", "fuzzing_pairs"):
        make_table(lake, table, sae=SAE, batch=0)
    published = write_explanations(lake, SAE, 0)
    write_predictions(lake, SAE, 0)
    counts = rows_of(lake, "select purpose, count(*) as n from llm_requests group by purpose")
    sent = {row["purpose"]: row["n"] for row in counts}
    assert published.figures["judging_requests_sent"] == sent["best_of_k_judging"] + sent["refinement_judging"]
    assert bounds["best_of_k"] == (6, 6)
    assert bounds["refinement"] == (0, 2)  # round 0 is what `default` asks as well
    for purpose, (_, most) in bounds.items():
        assert sent.get(purpose, 0) <= most, purpose
    searching = [purpose for purpose in bounds if purpose != "detection"]
    least, most = (sum(bounds[purpose][end] for purpose in searching) for end in (0, 1))
    assert least <= sum(sent[purpose] for purpose in searching) < most
    explained = rows_of(lake, "from explanations where explainer = 'best_of_k' order by draw")
    assert len({row["explanation"] for row in explained}) == 2, "some draws are wrong"
    [best] = [row for row in explained if row["is_chosen"]]
    assert best["train_score"] == max(row["train_score"] for row in explained)
    assert f"feature {ANIMAL}" in best["explanation"]
    scored = rows_of(lake, "select distinct explanation_id from predictions")
    named = {row["explanation_id"] for row in rows_of(lake, "from explanations where is_chosen")}
    assert {row["explanation_id"] for row in scored} <= named
    assert pl.DataFrame(estimate(open_lake(lake.config), SAE))["requests"].sum() == 0
