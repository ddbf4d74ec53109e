"""The oracle as a provider: it reads what a prompt says, errs as often as it is told to, and says its name."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
from tiny import ANIMAL, STOP

from pipeline.asking.roles import oracle_sentence, role_of
from pipeline.asking.spending import prices_of
from pipeline.asking.windows import Vocabulary
from pipeline.config import ExplainingConfig, ScoringConfig
from pipeline.errors import ConfigError
from pipeline.explainers.answers import parse_explanation
from pipeline.explainers.base import Feature, Shown
from pipeline.explainers.default import explainer
from pipeline.llm import Message, Request
from pipeline.llm.oracle.brain import Oracle, Rates, Window, truth_of
from pipeline.llm.oracle.client import GARBLED, OracleClient
from pipeline.llm.oracle.judges import alike, chance, literal
from pipeline.scorers.yes_no.answers import parse_many, parse_one
from pipeline.scorers.yes_no.requests import Question, score_request
from pipeline.tables.versions import SourceHashes, Versions

N = 400
VOCABULARY = Vocabulary([b" stop", b" cat", *(f" w{number}".encode() for number in range(N))])
QUESTIONS = [
    Question(f"q{number}", f"x{number}", None, number % 2 == 0, [number % 2, 2 + number]) for number in range(N)
]
TRUTH = truth_of(
    [
        *(Window(STOP, VOCABULARY.render(each.token_ids), False, each.label) for each in QUESTIONS),
        Window(STOP, VOCABULARY.render([0, 3]), True, True),
        Window(ANIMAL, VOCABULARY.render([1, 3]), True, True),
    ],
    {STOP: [" stop"], ANIMAL: [" cat"]},
)


def judging(questions, per_prompt=50, words=TRUTH.words[STOP], scorer="detection"):
    scoring = ScoringConfig()
    return score_request(scoring, "sae", STOP, scorer, words, questions, VOCABULARY, is_one=per_prompt == 1)


def explaining_request(explaining, token_ids):
    feature = Feature(0, "llm", None, True, [Shown("x", token_ids, [1.0, 0.0])])
    return explainer.request(explaining, "sae", feature, VOCABULARY)


def said(oracle, request):
    return oracle.answer(request.messages[-1].content)


def erring(rate):
    return Oracle(TRUTH, lambda feature: Rates(rate, rate))


# What it knows ------------------------------------------------------------------------------------------


def test_it_is_right_without_errors_one_or_many_a_prompt():
    some = QUESTIONS[:30]
    assert parse_many(said(Oracle(TRUTH), judging(some)), 30) == [each.label for each in some]
    assert [said(Oracle(TRUTH), judging([each], 1)) for each in some[:2]] == ["Yes", "No"]


@pytest.mark.parametrize("show_activations", [False, True])
def test_it_explains_the_feature_whose_windows_it_is_shown(show_activations):
    explaining = ExplainingConfig(show_activations=show_activations)
    for token_id, feature in ((0, STOP), (1, ANIMAL)):
        request = explaining_request(explaining, [token_id, 3])
        assert said(Oracle(TRUTH), request) == f"[EXPLANATION]: {TRUTH.words[feature]}"
    request = explaining_request(explaining, [9, 9])
    assert said(Oracle(TRUTH), request) == "[EXPLANATION]: nothing that I know"


def test_equal_texts_of_one_feature_that_differ_are_told_as_no():
    window = Window(STOP, "the", False, True)
    for windows in ([window, window._replace(label=False)], [window._replace(label=False), window]):
        assert truth_of(windows, {}).labels == {(STOP, "the"): False}


def test_an_explanation_that_names_no_feature_is_read_literally():
    words = 'one of the tokens " cat", " dog"'
    assert parse_many(said(Oracle(TRUTH), judging(QUESTIONS[:4], words=words)), 4) == [False, True, False, True]
    assert literal('the token " stop" after " don\'t"', "we don't stop here")
    assert not literal('the token " stop" after " don\'t"', "we will stop here")
    assert literal('the token " stop"', "we<< stop>> here")
    assert not literal('the token " stop"', "we stop<< here>>")


def test_without_an_explanation_one_text_tells_nothing_and_several_are_told_apart_by_likeness():
    assert {said(Oracle(TRUTH), judging([each], 1, "")) for each in QUESTIONS[:6]} == {"No"}
    texts = ["a<< cat>> b", "c<< dog>> d", "e<< cat>> f", "g<< cow>> h"]
    assert alike(texts) == [True, False, True, False]


# How it errs --------------------------------------------------------------------------------------------


def test_it_errs_as_often_as_it_is_told_to_and_the_same_way_each_time():
    oracle = erring(0.3)
    many = [parse_many(said(oracle, judging(QUESTIONS[first : first + 50])), 50) for first in range(0, N, 50)]
    again = [parse_many(said(oracle, judging(QUESTIONS[first : first + 10])), 10) for first in range(0, N, 10)]
    flat = [each for some in many for each in some]
    assert flat == [each for some in again for each in some]
    wrong = [answer != each.label for answer, each in zip(flat, QUESTIONS, strict=True)]
    for label in (True, False):
        share = [error for error, each in zip(wrong, QUESTIONS, strict=True) if each.label is label]
        assert sum(share) / len(share) == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("rates, answers", [(Rates(1, 0), {True}), (Rates(0, 1), {False})])
def test_errors_of_one_answer_alone_make_it_say_the_other_always(rates, answers):
    oracle = Oracle(TRUTH, lambda feature: rates)
    assert set(parse_many(said(oracle, judging(QUESTIONS[:50])), 50)) == answers


def test_it_leaves_texts_out_as_often_as_it_is_told_to():
    oracle = Oracle(TRUTH, omission_rate=0.02)
    read = [parse_many(said(oracle, judging(QUESTIONS[first : first + 20])), 20) for first in range(N - 20)]
    assert sum(each is None for each in read) / len(read) == pytest.approx(1 - 0.98**20, abs=0.1)


def test_chance_is_even_and_below_one():
    drawn = [chance("x", str(number)) for number in range(2000)]
    assert min(drawn) >= 0 and max(drawn) < 1
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=4 / math.sqrt(12 * len(drawn)))


# The provider -------------------------------------------------------------------------------------------


def test_the_client_refuses_and_garbles_as_often_as_it_is_told_to_and_another_draw_differs():
    requests = [judging([each], 1) for each in QUESTIONS]
    client = OracleClient("oracle", Oracle(TRUTH), refusal_rate=0.25, garbled_rate=0.25)
    answers = [answer for some in client.answer(requests) for answer in some]
    assert [answer.request_id for answer in answers] == [request.request_id for request in requests]
    kinds = Counter("garbled" if answer.text == GARBLED else answer.status for answer in answers)
    assert kinds["refused"] / N == pytest.approx(0.25, abs=0.1)
    assert kinds["garbled"] / N == pytest.approx(0.75 * 0.25, abs=0.1)
    for answer, question in zip(answers, QUESTIONS, strict=True):
        if answer.text in {"Yes", "No"}:
            assert answer.probabilities == {"Yes": float(question.label), "No": float(not question.label)}
        else:
            assert (answer.probabilities, answer.choice_mass) == (None, None)
    drawn = [
        {answer.status for draw in range(8) for [answer] in client.answer([replace(request, draw=draw)])}
        for request in requests[:20]
    ]
    assert {"ok", "refused"} in drawn


def test_what_is_garbled_can_be_read_as_no_answer():
    assert parse_explanation(GARBLED) is parse_one(GARBLED) is parse_many(GARBLED, 3) is None


def test_its_name_says_oracle_and_how_it_errs_whatever_model_the_config_names(make_experiment):
    config = make_experiment(
        explaining={"provider": "oracle", "model": "gpt-4o"},
        scoring={"provider": "oracle", "oracle": {"false_negative_rate": 0.25, "refusal_rate": 0.05}},
    )
    assert config.explaining.model == "oracle"
    name = "oracle (refusal 0.05, false positive 0.1, false negative 0.25)"
    assert config.scoring.model == name
    scorer = role_of(config, "scorer")
    assert scorer.model == name and scorer.is_free and prices_of(scorer).usd(name, None, None) == 0
    client = scorer.open_client(None, lambda: TRUTH)
    [[answer]] = client.answer([Request("x", "sae", STOP, name, (Message("user", "Who are you?"),), 5)])
    assert answer.resolved_model == name
    sentence = oracle_sentence(config)
    assert sentence and f"the scorer is an {name}" in sentence and "not a model's answers" in sentence
    assert type(config).model_validate(config.model_dump()) == config


def test_other_rates_are_another_model_and_matter_to_nobody_else(make_experiment):
    def hashes(**scoring):
        config = make_experiment(scoring=scoring)
        return [Versions(config, SourceHashes()).of(table) for table in ("explanations", "predictions")]

    oracles = [hashes(provider="oracle", oracle={"false_positive_rate": rate}) for rate in (0.1, 0.2)]
    assert oracles[0][0] == oracles[1][0] and oracles[0][1] != oracles[1][1]
    assert hashes() == hashes(oracle={"false_positive_rate": 0.2})


def test_a_wrong_rate_is_one_sentence(make_experiment):
    with pytest.raises(ConfigError, match=r"unknown key 'scoring.oracle.error_rate'; nearest known: "):
        make_experiment(scoring={"provider": "oracle", "oracle": {"error_rate": 0.1}})
    with pytest.raises(ConfigError, match=r"'explaining.oracle.refusal_rate': .* \(given: 2\)"):
        make_experiment(explaining={"oracle": {"refusal_rate": 2}})


def test_without_an_oracle_a_run_is_not_called_a_rehearsal(make_experiment):
    assert oracle_sentence(make_experiment()) is None


def test_answers_by_number_are_json():
    assert json.loads(said(Oracle(TRUTH), judging(QUESTIONS[:2]))) == {"1": True, "2": False}
