"""Intervention (after Paulo et al. 2024): does changing a feature make the model write what the explanation says?

The scorer is shown three sets of continuations, one of the feature and two of other features of the same SAE, and
chooses the set that fits the explanation; chance is 1/3. This tests the feature's effect, not when it fires: an
explanation that is right about firings may fail here, and one of an output feature may pass only here. The
continuations come from the table `steered_texts` and are the same for every explanation. Prompts are not shown,
because those of an ablated feature contain what it fires on.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from pipeline.asking.batches import ToAsk
from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.windows import one_line
from pipeline.config import Config, ScoringConfig
from pipeline.features.steered_texts import check_steered_saes
from pipeline.llm import Answer, Request
from pipeline.scorers.base import Prediction
from pipeline.scorers.choosing import chosen, numbers_to
from pipeline.scorers.requests import one_of, scoring_request, status_of

CHOICES = numbers_to(3)

_FOLDER = Path(__file__).parent

Set = Sequence[Mapping[str, str]]
"""Continuations of a set: `continuation`, and `unsteered`, that of the unchanged model."""


class Intervention:
    """Asks which of three sets of continuations fits an explanation."""

    name = "intervention"
    role: RoleKind | None = "scorer"

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """`n_trials` questions for each target and mode."""
        batch.create("borrowed_explanations")
        return batch.select(_FOLDER / "questions.sql")

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """One question per request; if a set is missing, nothing is asked (`no_input`)."""
        asked = [(row, self._to_ask(row, tools)) for row in questions.pl().iter_rows(named=True)]
        answers = tools.ask([to_ask for _, to_ask in asked if to_ask])
        for row, to_ask in asked:
            answer = answers[to_ask.request.request_id] if to_ask else None
            yield prediction(row, answer)

    def _to_ask(self, row: Mapping[str, Any], tools: Tools) -> ToAsk | None:
        if row["sets"] is None:
            return None
        sae = tools.batch.sae
        request = choice_request(tools.config.scoring, sae, row["feature"], row["explanation"], row["sets"])
        return ToAsk(request, lambda answer: chosen(answer, len(CHOICES)) is not None, str(1 + row["draw"] % 3))


scorer = Intervention()


def check(config: Config) -> None:
    """Raise SubjectError if features cannot be changed at an SAE's hookpoint."""
    check_steered_saes(config)


def choice_request(
    scoring: ScoringConfig, sae: str, feature: int, explanation: str, sets: Sequence[Set]
) -> Request:
    """The request that shows three sets and asks which of them fits an explanation."""
    shown = "\n\n".join(f"Set {number}\n{_lines(texts)}" for number, texts in zip(CHOICES, sets, strict=True))
    user = load_prompt(_FOLDER / "user.txt").render(explanation=one_line(explanation), sets=shown)
    system = load_prompt(_FOLDER / "system.txt").render()
    return scoring_request(scoring, sae, feature, Intervention.name, system, user, one_of(CHOICES))


def _lines(texts: Set) -> str:
    return "\n".join(
        f"usual: {one_line(text['unsteered'])}\nchanged: {one_line(text['continuation'])}" for text in texts
    )


def prediction(row: Mapping[str, Any], answer: Answer | None) -> Prediction:
    """The prediction for a question; without an answer there was nothing to ask."""
    choice = chosen(answer, len(CHOICES)) if answer is not None and answer.status == "ok" else None
    status = "no_input" if answer is None else status_of(answer, is_read=choice is not None)
    probabilities = answer.probabilities if choice is not None and answer is not None else None
    return Prediction(
        explanation_id=row["explanation_id"],
        feature=row["feature"],
        question_id=row["question_id"],
        label=True,
        prediction=None if choice is None else choice == row["own"],
        probability=probabilities[str(row["own"])] if probabilities else None,
        status=status,
        request_id=answer.request_id if answer is not None else None,
        n_choices=len(CHOICES),
        strata=row["strata"],
        cluster=row["cluster"],
    )
