"""The benchmark of many questions per prompt asks what a run asks, and fills prompts up with further texts."""

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.borrowed import DEMO
from benchmarks.many_questions import SIZES, prompts
from benchmarks.wordings import read_entries
from pipeline.config import load_config

ENTRIES = read_entries()
OWN = [question for entry in ENTRIES for question in entry.questions]


@pytest.mark.parametrize("size", SIZES)
def test_every_own_question_is_asked_once_in_prompts_of_that_size_with_half_of_them_yes(size):
    asked = list(prompts(load_config(DEMO).scoring, ENTRIES, size))
    questions = [question for each in asked for question in each.questions]
    assert sorted(set(questions) & set(OWN)) == sorted(OWN)
    assert len(questions) == len(set(questions)) == max(len(OWN), size * len(ENTRIES))
    assert {len(each.questions) for each in asked} == {size}
    assert size == 1 or {sum(question.label for question in each.questions) for each in asked} == {size // 2}


def test_no_further_text_contains_or_repeats_an_own_one():
    own = [question.text for question in OWN]
    further = [text for entry in ENTRIES for text in entry.further]
    assert len({*own, *further}) == len(own) + len(further)
    assert not [text for text in further if any(each in text or text in each for each in own)]


def test_the_order_of_answers_gives_nothing_away():
    asked = list(prompts(load_config(DEMO).scoring, ENTRIES, 40))
    yes_first = [each.questions[0].label for each in asked]
    equal = [
        a.label == b.label for each in asked for a, b in zip(each.questions, each.questions[1:], strict=False)
    ]
    assert 0 < sum(yes_first) < len(yes_first)
    assert 0.4 < sum(equal) / len(equal) < 0.6


def test_texts_are_numbered_and_keep_their_line_ends_as_in_a_run():
    prompt = next(
        each
        for each in prompts(load_config(DEMO).scoring, ENTRIES, 8)
        if "import os" in each[0].messages[1].content
    )
    content = prompt.request.messages[1].content
    numbers = re.findall(r"^(\d+)\t", content, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 9)]
    assert "import os\n from pathlib import Path\n\n def main(" in content
    assert "\\n" not in content
