"""A choice among numbered things is read where it is clear, and never guessed at."""

import pytest

from pipeline.llm import Answer
from pipeline.scorers.choosing import chosen, numbers_to


@pytest.mark.parametrize(("text", "number"), [
    ("3", 3), (" 3.", 3), ("Text 3", 3), ("**3**", 3), ("<think>1 or 2?</think>3", 3), ("3, so 3", 3),
    ("Set 3.", 3), (None, None),
    ("3 or 4", None), ("6", None), ("0", None), ("none", None), ("", None), ("33", None), ("<think>3", None),
])  # fmt: skip
def test_a_number_is_read_and_nothing_else(text: str | None, number: int | None) -> None:
    assert chosen(Answer("r", "ok", text), 5) == number


def test_probabilities_go_before_the_text_unless_they_are_equal() -> None:
    def answer(*shares: float) -> Answer:
        return Answer("r", "ok", "1", probabilities=dict(zip(numbers_to(3), shares, strict=True)))

    assert chosen(answer(0.2, 0.3, 0.5), 3) == 3
    assert chosen(answer(0.4, 0.2, 0.4), 3) is None


def test_more_choices_than_one_token_tells_apart_are_refused() -> None:
    assert numbers_to(9)[-1] == "9"
    with pytest.raises(ValueError, match="a choice among 10 cannot be read from one token"):
        numbers_to(10)
