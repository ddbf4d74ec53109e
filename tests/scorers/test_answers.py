"""Answers: the shapes that models write are read, and what could be read in two ways is not guessed at."""

import pytest

from pipeline.explainers.answers import parse_explanation
from pipeline.llm import Answer
from pipeline.scorers.values import json_pairs
from pipeline.scorers.yes_no.answers import HALF, parse_many, parse_one, probability_of_yes, read_answer


@pytest.mark.parametrize(
    "text",
    [
        "[1, 0, 1]",
        "[1,0,1]",
        " [1, 0, 1] \n",
        "[\n  1,\n  0,\n  1\n]",
        "[1, 0, 1,]",
        "[1, 0, 1,\n]",
        "Answer: [1, 0, 1]",
        "The first and third texts contain it.\n\n[1, 0, 1]",
        "```json\n[1, 0, 1]\n```",
        "[1, 0, 1]\n\nText 1 has it, see [the text].",
        "First guess: [1, 0]. All three: [1, 0, 1]",
        "[1, 0, 1] ... so my answer is [1, 0, 1]",
        "[true, false, true]",
        "[True, False, True]",
        '["yes", "no", "yes"]',
        "['Yes', 'No', 'Yes']",
        '["1", "0", "1"]',
        "[yes, no, true]",
        '{"1": 1, "2": 0, "3": 1}',
        '{"3": 1, "1": 1, "2": 0}',
        '{"Text 1": true, "Text 2": false, "Text 3": true}',
        '```json\n{\n  "1": "yes",\n  "2": "no",\n  "3": "yes"\n}\n```',
        '{"answers": [1, 0, 1]}',
        '{"1": true, "2": false, "3": true,}',
        '{"1": True, "2": False, "3": True}',
        "{1: yes, 2: no, 3: yes,}",
        "{'1': True, '2': False, '3': True}",
        "{'Text 1': 'yes', 'Text 2': 'no', 'Text 3': 'yes'}",
        "{'1': 1, '2': 0, '3': 1,}",
        '{"answers": {1: true, 2: false, 3: true}}',
        '{"1": true, "2": false, "3": true}',
        '{\n "1": true,\n "2": false,\n "3": true\n}\n\nText 2 has a comparison, but no river.',
        'Here is the JSON object: {"1":true,"2":false,"3":true}',
        '{"answers": {"1": true, "2": false, "3": true}}',
        '<think>{"1": ?}</think>{"1": true, "2": false, "3": true}',
        '{"1": true, "2": false, "3": true} that is [1, 0, 1]',
        "1. Yes\n2. No\n3. Yes",
        "1\ttrue\n2\tfalse\n3\ttrue",
        "1: true\n2: false\n3: true\n",
        "Text 1: yes\nText 2: no\nText 3: yes",
        "- **1**: Yes\n- **2**: No\n- **3**: Yes",
        "Answers:\n1) 1\n2) 0\n3) 1",
    ],
)
def test_answers_to_several_questions_are_read(text):
    assert parse_many(text, 3) == [True, False, True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "1, 0, 1",
        "[1, 0]",
        "[1, 0, 1, 1]",
        "[1, 0, 2]",
        "[0.9, 0.1, 0.8]",
        "[1, , 1]",
        "[1, 0, 1,,]",
        "[1, 0,]",
        '{"1": true, "2": false,}',
        "{1: true, 2: false, 2: true, 3: true}",
        "{1: true, 2: maybe, 3: true}",
        "{'1': true, '2': 'not false', '3': true}",
        "{'1: true, 2': false, '3': true}",
        "{'1': true, '1': false, '3': true}",
        "{1: true, 2: not false, 3: true}",
        "[1, null, 1]",
        "[1, 0, maybe]",
        "[1, 0, 1",
        "[[1, 0, 1], [0, 0, 1]]",
        "[1, 0, 1] or rather [0, 0, 1]",
        "I cannot judge these texts.",
        '{"1": 1, "2": 0}',
        '{"1": 1, "2": 0, "4": 1}',
        '{"1": 1, "2": 0, "03": 1}',
        '{"1": 1, "2": 0, "3": 2}',
        '{"a": 1, "b": 0, "c": 1}',
        '{"1": 1, "2": 0, "3": 1',
        '{"1": 1, "2": 0, "3": 1} {"1": 0, "2": 0, "3": 1}',
        '{"1": 1, "2": 0, "3": 1} or [0, 0, 1]',
        '{"1": true, "2": false, "2": true, "3": true}',
        '{"1": true, "2": false, "3": null}',
        '{"1": [true], "2": false, "3": true}',
        '{"1": ' + "[" * 2000 + "}",
        "1. Yes\n2. No",
        "1\n0\n2\n1\n3\n0",
        "1. Yes\n2. No\n2. Yes\n3. Yes",
        "1. Yes\n2. No\n3. Perhaps",
        "1. Yes, it does\n2. No\n3. Yes",
        "1. Yes\n2. No\n3. Yes\n4. No",
    ],
)
def test_answers_that_are_unclear_or_of_another_length_are_not_guessed_at(text):
    assert parse_many(text, 3) is None


@pytest.mark.parametrize(
    "text, told",
    [
        ('{"1": true, "2": false}', [0.9, None]),
        ("<think>{1: true}</think>[1, 0]", [None, None]),
    ],
)
def test_a_probability_is_of_the_object_that_is_the_answer(text, told):
    answer = Answer("id", "ok", text=text, probabilities={"1": 0.9})
    assert read_answer(answer, 2, is_one=False, threshold=HALF) == ([*told], [True, False])


@pytest.mark.parametrize(
    "text",
    [
        "As [1] shows, there is no comparison.",
        "No, see [1].",
        "Text [1] has it.",
        "[1] is about rivers.",
        "The text {see [1]} has none.",
        '{"1": false} though [1]',
    ],
)
def test_a_footnote_is_no_answer_to_the_only_question_of_a_prompt(text):
    assert parse_many(text, 1) is None


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "[true]",
        "```json\n[1]\n```",
        "Answer: [1]",
        '{"answers": [1]}',
        '{"1": true}',
        "1. Yes",
        'It has one, as in [1]: {"1": true}',
    ],
)
def test_the_answer_to_the_only_question_of_a_prompt_is_read(text):
    assert parse_many(text, 1) == [True]


@pytest.mark.parametrize(
    "text",
    [
        "Yes",
        "yes",
        "Yes.",
        "YES!",
        "**Yes**",
        '"Yes"',
        "true",
        "True.",
        "[1]",
        '{"1": true}',
        "[yes]",
        "Yes, it contains a comparison.",
        "Yes. It is true.",
    ],
)
def test_answers_of_yes_are_read(text):
    assert parse_one(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "No",
        "no.",
        "False",
        "[0]",
        '{"1": 0}',
        "No, the text is about rivers.",
        " No\n\nNo",
    ],
)
def test_answers_of_no_are_read(text):
    assert parse_one(text) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0",
        "1",
        " 1\n",
        "2",
        "10",
        "-1",
        "0.5",
        "maybe",
        "Yes, no",
        "Yes and no.",
        "No. Well, yes.",
        "It contains it: yes",
        "[1, 0]",
        "[1] [0]",
        "1.0",
        "1 0",
        "?",
        "yesterday",
        "Nothing",
        "No, as in [1].",
        "Yes, unlike [0].",
        '{"1": true} No.',
    ],
)
def test_unclear_answers_to_one_question_are_not_guessed_at(text):
    assert parse_one(text) is None


DRAFT = '{"1": true, "2": true, "3": true}'
FINAL = '{"1": true, "2": false, "3": true}'


@pytest.mark.parametrize(
    "text",
    [
        f"<think>maybe {DRAFT}. No: </think>\n```json\n{FINAL}\n```",
        f"<think>a <think>{DRAFT}</think> no {DRAFT} </think>\n{FINAL}",
        f"maybe {DRAFT}. No.\n</think>\n{FINAL}",
        f"<think>\n1. Yes\n2. Yes\n3. Yes\n</think>\n{FINAL}",
        f"<think>{DRAFT}</think>\n1. **Yes**\n2. **No**\n3. **Yes**",
    ],
)
def test_a_draft_in_a_thought_is_no_answer(text):
    assert parse_many(text, 3) == [True, False, True]


@pytest.mark.parametrize("text", [f"<think>{FINAL} or", f"<think>{FINAL}</think>", f"{FINAL}</think>", "<think>"])
def test_a_thought_alone_answers_nothing(text):
    assert parse_many(text, 3) is None
    assert parse_one(text) is None


@pytest.mark.parametrize(
    "text, said",
    [
        ("<think>Yes</think>No", False),
        ("<think>No, the first... </think>Yes", True),
        ("<think>\nNo", None),
        ("Yes or no?\n</think>\n\n**No**", False),
    ],
)
def test_the_answer_to_one_question_stands_after_the_thought(text, said):
    assert parse_one(text) is said


@pytest.mark.parametrize(
    "probabilities, expected",
    [
        (None, None),
        ({}, None),
        ({"Yes": 0.9}, None),
        ({"yes": 0.9, "no": 0.1}, None),
        ({"Yes": 0.0, "No": 0.0}, None),
        ({"Yes": 0.75, "No": 0.25}, 0.75),
        ({"Yes": 0.3, "No": 0.1}, 0.75),
        ({"Yes": 0.0, "No": 0.2}, 0.0),
        ({"Yes": 0.1, "No": 0.1, "Maybe": 0.8}, 0.5),
    ],
)
def test_probability_of_yes_is_among_yes_and_no(probabilities, expected):
    assert probability_of_yes(probabilities) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "text, words",
    [
        ("[EXPLANATION]: the token stop", "the token stop"),
        ("[explanation]: the token stop", "the token stop"),
        ("[EXPLANATION] the token stop", "the token stop"),
        ("[EXPLANATION] :the token stop", "the token stop"),
        ("Let me think.\n\n[EXPLANATION]: the token stop", "the token stop"),
        ("[EXPLANATION]: verbs\n\nNo, narrower.\n[EXPLANATION]: the token stop", "the token stop"),
        ("[EXPLANATION]:\n\nthe token stop", "the token stop"),
        ("[EXPLANATION]: the token\nstop", "the token stop"),
        ("[EXPLANATION]: the token stop\n\nExample 1 shows it.", "the token stop"),
        ('[EXPLANATION]: the token " stop"  after\tdon\'t', 'the token " stop" after don\'t'),
        ("[EXPLANATION]: the <<stop>> token", 'the "stop" token'),
        ("[EXPLANATION]: stop \x1b[31m", "stop \\x1b[31m"),
        ("<think>\n[EXPLANATION]: draft\n</think>\n\n**[EXPLANATION]:** the token", "the token"),
        ("I think of [EXPLANATION]: draft\n</think>\n[EXPLANATION]: the token", "the token"),
        ("**[EXPLANATION]: the token stop**", "the token stop"),
        ("```\n[EXPLANATION]: the *first* token\n```", "the first token"),
        ('[EXPLANATION]: the token "<think>" in a prompt', 'the token "<think>" in a prompt'),
    ],
)
def test_explanation_is_what_follows_the_last_mark_up_to_a_blank_line(text, words):
    assert parse_explanation(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the token stop",
        "Explanation: the token stop",
        "[EXPLANATION]",
        "[EXPLANATION]: \n ",
        "[EXPLANATION]: stop\n[EXPLANATION]:",
        "<think>",
        "<think>\n[EXPLANATION]: draft, or rather",
        "<think>[EXPLANATION]: draft</think>\nThe feature fires on x.",
    ],
)
def test_answer_without_words_after_the_mark_is_no_explanation(text):
    assert parse_explanation(text) is None


def test_explanation_is_one_line_of_bounded_length():
    words = parse_explanation("[EXPLANATION]: " + "word\u2028" * 2000)
    assert words is not None
    assert len(words.splitlines()) == 1
    assert len(words) <= 1000


def test_a_text_within_json_is_left_as_it_is():
    assert json_pairs('{"1": true, "2": "so: yes, it is"}') == [("1", True), ("2", "so: yes, it is")]
