"""Counting the requests of a batch: the code that would send them runs, and nobody is asked.

Examples, explanations and predictions are made as in a run, and not written; scorers that ask nobody are left
out. What the ledger holds is answered from it; what it lacks gets a stand-in. A stand-in explanation is of
typical length (some 30 tokens, Juang et al. 2024), and so are the scoring prompts that hold it. A stand-in answer
of a scorer is right half of the time, where intervals are widest: where scoring stops by their width, real answers
ask for no more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from pipeline.asking.batches import ToAsk
from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Batch
from pipeline.explainers.write import explanations_table
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.llm import Answer, Request
from pipeline.llm.ledger.answers import replayed_answers
from pipeline.make_table import read_rows
from pipeline.scorers.write import load_scorer, predictions_table
from pipeline.tables.stages import STAGES

_ASKING = ("explanations", "predictions")



class Counted(NamedTuple):
    """A request that a run would need.

    Attributes:
        request: It.
        role: Who is asked.
        is_known: Whether the ledger holds its answer.
        is_plain: Whether it explains a feature of route `llm`, or scores that explanation: no control, no rule.
        answer: The ledger's answer, or the text of a stand-in.
    """

    request: Request
    role: RoleName
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
    explaining, scoring = (_StandIns(_known(lake, table, sae, batch)) for table in _ASKING)
    with lake.connect(sae, batch, made) as connection:
        own = Batch(lake, connection, sae, batch)
        made["explanations"] = explanations_table(own, explaining.ask)
        routes = own.select("explained_features").pl().select("feature", "route")
    with lake.connect(sae, batch, made) as connection:
        asking = [name for name in lake.config.scoring.scorers if load_scorer(name).role is not None]
        predictions = predictions_table(Batch(lake, connection, sae, batch), scoring.ask, asking)

    plain = (
        pl.DataFrame(made["explanations"])
        .join(routes.filter(pl.col("route") == "llm"), on="feature", how="semi")
        .filter(pl.col("request_id").is_not_null())
    )
    scored = pl.DataFrame(predictions).join(plain, on="explanation_id", how="semi")
    ids = {*plain["request_id"], *scored["request_id"]}
    return [*explaining.counted("explainer", ids), *scoring.counted("scorer", ids)]


def _known(lake: Lake, table: str, sae: str, batch: int) -> dict[str, Answer]:
    size = lake.config.selection.batch_size
    return replayed_answers(lake.root / LEDGER_FOLDER, table, sae, batch * size, (batch + 1) * size - 1)


@dataclass
class _StandIns:
    """Answers in place of a client: what is known, else a stand-in; what was asked is kept."""

    known: Mapping[str, Answer]
    requests: dict[str, Request] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def ask(self, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        """An answer each."""
        return {each.request.request_id: self._answer(each) for each in to_ask}

    def counted(self, role: RoleName, plain: set[str]) -> list[Counted]:
        """What was asked; `plain` are the ids of the requests that are."""
        return [
            Counted(request, role, request_id in self.known, request_id in plain, self.texts[request_id])
            for request_id, request in self.requests.items()
        ]

    def _answer(self, to_ask: ToAsk) -> Answer:
        request = to_ask.request
        known = self.known.get(request.request_id)
        self.requests[request.request_id] = request
        self.texts[request.request_id] = (known.text or "") if known else to_ask.stand_in
        # Whatever a server is asked for it is taken to give, until one has answered.
        probabilities = dict.fromkeys(request.keys, 0.5) or None
        return known or Answer(request.request_id, "ok", to_ask.stand_in, probabilities)
