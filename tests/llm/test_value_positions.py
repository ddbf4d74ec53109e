"""Where values stand among tokens: each way in which a tokenizer can join or cut them."""

import math

import pytest

from pipeline.llm.choices import key_probabilities
from pipeline.llm.value_positions import (
    ValuePosition,
    blank_positions,
    expected_values,
    number_masses,
    value_positions,
    word_masses,
)

BLANK = "\tunknown"
NUMBERS = tuple(map(str, range(11)))


@pytest.mark.parametrize("pieces, positions", [
    (["{", '"', "1", '"', ":", " true", ",", ' "', "2", '":', " false", "}"], {"1": (5, " "), "2": (10, " ")}),
    (['{"', "1", '": ', "true", ', "2": fa', "lse}"], {"1": (3, ""), "2": (4, ', "2": ')}),
    (['{"1":', "true", "}"], {"1": (1, "")}),
    (['{"1": "', "Yes", '"}'], {"1": (1, "")}),
    (["{'", "1", "':", " True", ", '2': '", "No", "'}"], {"1": (3, " "), "2": (5, "")}),
    (['{"1": true, "1": false}'], {}),
    (["Yes"], {}),
    (['{"1":'], {}),
    ([], {}),
])  # fmt: skip
def test_a_value_begins_behind_its_key(pieces, positions):
    assert value_positions(pieces) == {key: ValuePosition(*position) for key, position in positions.items()}


@pytest.mark.parametrize("lines, positions", [
    # a tab of its own, and the blank in one piece or in two
    ([" the", "\t", "unknown", "\n", " cat", "\t", "un", "known"], [(2, ""), (6, "")]),
    # the tab is joined with what is before it: the value has a token of its own all the same
    ([" the\t", "unknown", "\n", " cat\t", "unknown"], [(1, ""), (4, "")]),
    # the tab is joined with the blank: the position says so
    ([" the", "\tun", "known\n", " cat", "\tun", "known"], [(1, "\t"), (4, "\t")]),
    # the feature's own token is cut, or is itself the word
    ([" an", "tique", "\t", "unknown", "\n", "unknown", "\t", "unknown"], [(3, ""), (7, "")]),
    # a line end within a token is spelled, so that it begins no line
    (["\\", "n", "\t", "unknown", "\n", " unknown", "\t", "unknown"], [(3, ""), (7, "")]),
    # lines of the instructions stand before
    (["x", "\t", "unknown", "\n", "a", "\t", "unknown", "\n", "b", "\t", "unknown"], [(6, ""), (10, "")]),
])  # fmt: skip
def test_blanks_are_found_however_tokens_are_cut(lines, positions):
    assert blank_positions(lines, BLANK, 2) == [ValuePosition(*position) for position in positions]


def test_fewer_blanks_than_were_sent_are_none():
    assert blank_positions([" the", "\t", "unknown"], BLANK, 2) is None
    assert blank_positions([], BLANK, 1) is None


def test_only_whole_numbers_count():
    told = [("1", math.log(0.5)), ("10", math.log(0.25)), (" 3", math.log(0.125)), ("unknown", -1.0), ("11", -1.0)]
    masses = number_masses(told, NUMBERS)
    assert masses == pytest.approx({"1": 0.5, "10": 0.25, "3": 0.125})
    assert expected_values([masses, {"2": 0.1}]) == pytest.approx([(0.5 + 2.5 + 0.375) / 0.875, 2.0])


def test_where_no_number_is_told_there_is_no_value():
    assert number_masses([("unknown", -0.1), ("\t", -3.0)], NUMBERS) == {}
    assert expected_values([]) is expected_values([{"2": 0.1}, {}]) is None
    assert expected_values([{"2": 0.1}, {"0": math.nan, "1": math.nan}]) is None
    assert number_masses([("7", float("nan"))], NUMBERS) == {}


def test_behind_a_joined_tab_a_number_has_to_stand_with_it():
    assert number_masses([("5", -1.0), ("\t", -0.1)], NUMBERS, lead="\t") == {}
    assert number_masses([("\t5", 0.0)], NUMBERS, lead="\t") == {"5": 1.0}


def test_words_count_with_a_space_before_them_or_without_and_from_their_beginning():
    told = [(" true", math.log(0.5)), ("False", math.log(0.25)), ("t", math.log(0.125)), (" 1", -0.1)]
    assert word_masses(told, ("true", "false"), " ") == pytest.approx({"true": 0.625, "false": 0.25})


def test_a_key_with_too_little_mass_has_no_probability_and_the_least_is_told():
    masses = {"1": {"true": 0.6, "false": 0.2}, "2": {"true": 0.004, "false": 0.005}, "3": {"true": 0, "false": 1}}
    probabilities, least = key_probabilities(masses, ("true", "false"))
    assert probabilities == pytest.approx({"1": 0.75, "3": 0.0})
    assert least == pytest.approx(0.009)
    assert key_probabilities({}, ("true", "false")) == (None, None)
