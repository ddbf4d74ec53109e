"""Counting the requests of a batch: the code that would send them runs, and nobody is asked.

Examples, explanations and predictions are made as in a run, and not written. What the ledger holds is
answered from it; what it lacks gets a stand-in. A stand-in explanation is of typical length (some 30 tokens,
Juang et al. 2024), and so are the scoring prompts that hold it. A stand-in answer of a scorer is right half of
the time, where intervals are widest: where scoring stops by their width, real answers ask for no more.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from pipeline.asking.spending import Asset
from pipeline.explainers import explanation_id, explanations_table, read_to_explain
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.llm import Answer, Request
from pipeline.llm.ledger.answers import replayed_answers
from pipeline.make_table import read_rows
from pipeline.scorers import Asking, predictions_table
from pipeline.tables.stages import STAGES

_STAND_IN = (
    "words and phrases that introduce a comparison or a contrast, such as conjunctions and adverbs at the "
    "beginning of a clause"
)


class Counted(NamedTuple):
    """A request that a run would need.

    Attributes:
        request: It.
        asset: The table whose stage asks.
        is_known: Whether the ledger holds its answer.
        is_plain: Whether it explains a feature of route `llm`, or scores that explanation: no control, no rule.
        answer: The ledger's answer, or the text of a stand-in.
    """

    request: Request
    asset: Asset
    is_known: bool
    is_plain: bool
    answer: str


def count_requests(lake: Lake, sae: str, batch: int, selected: pa.Table) -> list[Counted]:
    """Every request of a batch once, in the order in which a run would come to it.

    `selected` are the rows of `selected_features`; the tables that follow from them are made here.
    """
    made = {"selected_features": selected}
    for table in STAGES["estimate"].rehearses:
        if STAGES[table].is_sql:
            made[table] = read_rows(lake, table, sae=sae, batch=batch, given=made)
    explaining = _StandIns(_known(lake, "explanations", sae, batch))
    with lake.connect(sae, batch, made) as connection:
        to_explain = read_to_explain(lake, connection, sae, batch)
    answers = explaining.explain(list(to_explain.requests.values()))
    made["explanations"] = explanations_table(sae, to_explain, answers)
    scoring = _StandIns(_known(lake, "predictions", sae, batch))
    with lake.connect(sae, batch, made) as connection:
        predictions_table(lake, connection, sae, scoring.score)

    rows = to_explain.features.select("feature", "route").iter_rows()
    told = {feature for feature, route in rows if route == "llm" and feature in to_explain.requests}
    plain = {to_explain.requests[feature].request_id for feature in told}
    own = {explanation_id(sae, feature, "default") for feature in told}
    plain |= {each.request.request_id for each in scoring.asked if each.explanation_id in own}
    counted = explaining.counted("explanations", plain), scoring.counted("predictions", plain)
    return [*counted[0], *counted[1]]


def _known(lake: Lake, asset: Asset, sae: str, batch: int) -> dict[str, Answer]:
    size = lake.config.selection.batch_size
    return replayed_answers(lake.root / LEDGER_FOLDER, asset, sae, batch * size, (batch + 1) * size - 1)


@dataclass
class _StandIns:
    """Answers in place of a client: what is known, else a stand-in; what was asked is kept."""

    known: Mapping[str, Answer]
    requests: dict[str, Request] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    asked: list[Asking] = field(default_factory=list)

    def explain(self, requests: Sequence[Request]) -> dict[str, Answer]:
        """Answers of an explainer; no two stand-ins are the same, as of features no two explanations are."""
        words = (f"[EXPLANATION]: {_STAND_IN}, number {each.feature}" for each in requests)
        return {each.request_id: self._answer(each, text) for each, text in zip(requests, words, strict=True)}

    def score(self, asking: Sequence[Asking]) -> dict[str, Answer]:
        """Answers of a scorer; the stand-ins are right half of the time."""
        self.asked += asking
        return {each.request.request_id: self._answer(each.request, _half_right(each)) for each in asking}

    def counted(self, asset: Asset, plain: set[str]) -> list[Counted]:
        """What was asked; `plain` are the ids of the requests that are."""
        return [
            Counted(request, asset, request_id in self.known, request_id in plain, self.texts[request_id])
            for request_id, request in self.requests.items()
        ]

    def _answer(self, request: Request, text: str) -> Answer:
        known = self.known.get(request.request_id)
        self.requests[request.request_id] = request
        self.texts[request.request_id] = (known.text or "") if known else text
        return known or Answer(request.request_id, "ok", text)


def _half_right(asking: Asking) -> str:
    """An answer to questions that is right or wrong by a hash of each."""
    says = [question.label == (int(question.question_id[-1], 16) % 2 == 0) for question in asking.questions]
    if asking.request.choices:
        return asking.request.choices[0 if says[0] else 1]
    return json.dumps([int(each) for each in says])
