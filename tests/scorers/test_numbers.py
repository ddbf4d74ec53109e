"""Whole numbers by number: what is read, and what is not guessed at."""

import pytest

from pipeline.scorers.numbers import numbers_schema, parse_numbers


@pytest.mark.parametrize("text", [
    '{"1": 0, "2": 7}', 'Sure:\n{"2": 7, "1": 0}', '```json\n{"1": "0", "2": 7.0}\n```',
    '<think>{"1": 3}</think>{"1": 0, "2": 7}', '{"1": 0, "2": 7,\n}', "{1: 0, 2: 7}", "{'1': 0, '2': '7'}",
    "[0, 7]", '{"grades": {"1": 0, "2": 7}}', '{"Text 1": 0, "Text 2": 7}', "1. 0\n2. 7", "1\t0\n2\t7",
    'Text 2 has {x}: {"1": 0, "2": 7}', '{"1": 0, "2": 7} {as in the code}',
])  # fmt: skip
def test_numbers_are_read_in_their_order(text):
    assert parse_numbers(text, 2, 10) == [0, 7]


@pytest.mark.parametrize("text", [
    "", "0, 7", "[0, 7, 1]", "[0, 7] or [1, 7]", '{"0": 0, "1": 7}', "0. 0\n1. 7", '{"1": 0, "2": "1_0"}',
    '{"1": 0}', '{"1": 0, "2": 7, "3": 1}', '{"1": 0, "1": 7}', '{"1": 0, "2": 11}',
    '{"1": 0, "2": -1}', '{"1": 0, "2": 6.5}', '{"1": 0, "2": true}', '{"1": 0, "2": null}', '{"1": 0, "2": NaN}',
    '{"1": ' + "[" * 2000 + "}",
    '{"1": 0, "2": "much"}', '{"1": 0, "2": [7]}', '{"1": 0} {"2": 7}', '{"1": 0, "2": Infinity}',
])  # fmt: skip
def test_what_is_missing_too_much_or_no_such_number_is_no_answer(text):
    assert parse_numbers(text, 2, 10) is None


def test_a_footnote_is_no_grade_of_the_only_text():
    assert parse_numbers("It fits, as [1] shows.", 1, 2) is None
    assert parse_numbers("[1]", 1, 2) == [1]


def test_the_schema_has_every_number_required():
    schema = numbers_schema(2, 2)
    assert schema["required"] == ["1", "2"] and schema["properties"]["2"]["enum"] == [0, 1, 2]
