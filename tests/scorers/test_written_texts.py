"""What models write when they are asked for texts, and what is made of it."""

import json

import pyarrow as pa
import pytest

from pipeline.scorers.generation import decile_of
from pipeline.scorers.generation.answers import read_written, same_words

BOTH = (["He said stop.", "Don't stop it."], ["A bus stop."])
OBJECT = json.dumps({"active": BOTH[0], "near_misses": BOTH[1]})


@pytest.mark.parametrize(
    "text",
    [
        OBJECT,
        f"Here are the texts:\n```json\n{OBJECT}\n```\nI hope that this helps.",
        f"<think>{{}} or so</think>{OBJECT}",
        f"{OBJECT}\n\n{OBJECT}",
        json.dumps({"Active texts": BOTH[0], "Near misses": BOTH[1]}),
        json.dumps({"active": {"1": BOTH[0][0], "2": BOTH[0][1]}, "near_misses": {"1": BOTH[1][0]}}),
        "Active:\n1. He said stop.\n2. Don't stop it.\n\nNear misses:\n1. A bus stop.",
        "1) He said stop.\n2) Don't stop it.\n1) A bus stop.",
    ],
)
def test_two_lists_are_read_in_the_forms_in_which_models_write_them(text):
    assert read_written(text) == BOTH


def test_half_a_surrogate_pair_is_no_character_and_ends_no_run():
    written = read_written('{"active": ["a \\ud83d b", "\\ud83d\\ude00"], "near_misses": ["c"]}')
    assert written == (["a ? b", "\U0001f600"], ["c"])
    pa.array(written.active)  # as the table holds it


def test_a_line_end_within_a_text_stays():
    assert read_written('{"active": ["one\ntwo"], "near_misses": ["\\n"]}') == (["one\ntwo"], ["\n"])


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "I cannot do that.",
        json.dumps({"active": BOTH[0]}),
        json.dumps({"active": BOTH[0], "near_misses": [1, 2]}),
        OBJECT + json.dumps({"active": ["other"], "near_misses": ["texts"]}),
        OBJECT[:-20],
        '{"active": ' + "[" * 2000,
        "1. He said stop.\n2. Don't stop it.",
        "1. one\n3. three\n1. other",
        "1. a\n1. b\n1. c",
    ],
)
def test_what_is_not_two_lists_is_nothing(text):
    assert read_written(text) is None


def test_a_text_is_another_by_its_words_alone():
    assert same_words("Don't  stop!") == same_words("don't stop")
    assert same_words("!!") != same_words("??")


@pytest.mark.parametrize(("peak", "decile"), [(0.1, 2), (0.5, 2), (0.9, 2), (1.0, 3), (7.0, 10)])
def test_a_peak_is_in_the_highest_decile_that_it_reaches(peak, decile):
    lowest = {2: 0.5, 3: 1.0, 10: 4.0}
    assert decile_of(peak, [{"decile": each, "lowest": lowest[each]} for each in lowest]) == decile
    assert decile_of(peak, None) is None
