"""The cookbook: every query answers on a small lake, and the page holds every query as it is."""

from pathlib import Path

import pytest

from benchmarks.pages.cookbook import cookbook_page, questions_and_queries
from pipeline.config import load_config
from pipeline.lake import open_catalog

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"
QUESTIONS = list(questions_and_queries())


def test_there_are_24_questions_each_once() -> None:
    assert len({question for question, _ in QUESTIONS}) == len(QUESTIONS) == 24
    assert all("?" in question for question, _ in QUESTIONS)


@pytest.mark.parametrize(("question", "query"), QUESTIONS, ids=[question for question, _ in QUESTIONS])
def test_the_page_holds_the_question_and_its_query_as_it_is(question: str, query: str) -> None:
    """`make cookbook` writes it."""
    assert f". {question}\n\n```sql\n{query}```\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.whole
def test_every_query_answers_on_a_small_lake(finished: Path) -> None:
    with open_catalog(load_config(finished).lake_folder) as connection:
        page = cookbook_page(connection)
    answers = page.split("```sql\n")[1:]
    answered = [number for number, text in enumerate(answers, start=1) if "No rows" not in text]
    # The small lake has no failed answer, no SAE of dense directions, and few features.
    assert {1, 3, 4, 5, 7, 8, 9, 10, 12, 17, 19, 20, 22, 23, 24} <= {*answered}
