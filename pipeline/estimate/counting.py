"""Counting the requests of a batch: the code that would send them runs, and nothing is sent.

Examples, explanations and predictions are made as in a run, and not written. Scorers that ask nobody are timed
on a few features, and of forward passes of the subject model only the tokens are counted. What the ledger holds
is answered from it; what it lacks gets a stand-in. A stand-in explanation is of typical length (some 30 tokens,
Juang et al. 2024), and so are the scoring prompts that hold it. A stand-in answer of a scorer is right half of the
time, where intervals are widest: where scoring stops by their width, real answers ask for no more.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.asking.batches import Asks, ToAsk
from pipeline.asking.draws import is_final, next_draw
from pipeline.asking.roles import RoleName, role_of, scorer_roles
from pipeline.estimate.own_models import asks_nobody, own_seconds
from pipeline.explainers.write import explaining_ledgers
from pipeline.features.steered_texts import rehearsed_texts
from pipeline.firings.texts import Activations
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.llm import Answer, Request
from pipeline.llm.ledger.answers import replayed_answers
from pipeline.make_table import read_rows
from pipeline.pilot.rehearse import (
    rehearse_controls,
    rehearse_explanations,
    rehearse_pairs,
    rehearse_predictions,
    rehearse_windows,
)
from pipeline.scorers.write import scoring_ledgers
from pipeline.tables import TABLES
from pipeline.tables.versions import is_made


class Counted(NamedTuple):
    """A request that a run would need.

    Attributes:
        request: It.
        role: Who is asked.
        is_known: Whether the ledger holds its answer.
        is_plain: Whether it explains a feature of route `llm`, or scores that explanation: no control, no rule.
        answer: The ledger's answer, or the text of a stand-in.
        is_certain: Whether it is asked whatever was answered before.
    """

    request: Request
    role: RoleName
    is_known: bool
    is_plain: bool
    answer: str
    is_certain: bool


class Needs(NamedTuple):
    """What a run would need.

    Attributes:
        requests: Every request once, in the order in which a run would come to it.
        subject_tokens: Tokens that the subject model would read, by scorer, and for the table `steered_texts`.
        own_seconds: How long scorers take that ask nobody, by scorer.
        rounds: How often requests of a purpose would be sent together, one time after another.
    """

    requests: list[Counted]
    subject_tokens: dict[str, int]
    own_seconds: dict[str, float]
    rounds: Counter[str]


def count_requests(
    lake: Lake, sae: str, batch: int, selected: pa.Table, *, is_unfinished: bool = True
) -> Needs:
    """What a run would need for a batch.

    `selected` are the rows of `selected_features`; the tables that follow from them are made here. A batch that is
    done is not made again, though the selection or the corpus has changed: nothing is asked that the ledger lacks,
    nothing is read, and scorers that ask nobody have nothing left to do.
    """
    made = rehearse_windows(lake, sae, batch, selected)
    subject_tokens = {}
    if is_made(lake.config, "steered_texts"):
        made["steered_texts"], subject_tokens["steered_texts"] = rehearsed_texts(lake, sae, batch, selected)
    if is_made(lake.config, "token_changes"):
        made["token_changes"] = read_rows(lake, "assumed_changes", sae=sae, batch=batch, given=made)
    config = lake.config
    explaining, telling, scoring = (
        [
            _StandIns(_known(lake, ledger, sae, batch), {name: role_of(config, name).max_draws for name in names})
            for ledger, names in ledgers.items()
        ]
        for ledgers in (explaining_ledgers(config), {"thresholds": scorer_roles(config)}, scoring_ledgers(config))
    )
    made["explanations"] = rehearse_explanations(lake, sae, batch, made, _asks(explaining))
    scorers = config.scoring.scorers
    if config.scoring.threshold == "controls":  # of the pilot's features, which may be of another batch
        pairs, n_pairs = rehearse_pairs(lake, sae, batch, made), config.scoring.pilot_features
        rehearse_controls(lake, sae, batch, made, _asks(telling), scorers, pairs, n_pairs, is_certain=False)
    parts = []
    own = [name for name in scorers if asks_nobody(config, name)]
    for name in scorers:
        if name not in own:
            reads = _Reads()
            parts.append(rehearse_predictions(lake, sae, batch, made, _asks(scoring), [name], reads.read))
            subject_tokens[name] = reads.n_tokens
    predictions = pa.concat_tables(parts) if parts else TABLES["predictions"].schema.empty_table()
    explained = lake.query("explained_features", sae=sae, batch=batch, given=made)

    plain = (
        pl.DataFrame(made["explanations"])
        .join(explained.filter(pl.col("route") == "llm"), on="feature", how="semi")
        .filter(pl.col("request_id").is_not_null())
    )
    scored = pl.DataFrame(predictions).join(plain, on="explanation_id", how="semi")
    ids = {*plain["request_id"], *plain["judge_request_ids"].explode(), *scored["request_id"]}
    asked = (*explaining, *telling, *scoring)
    counted = [one for each in asked for one in each.counted(ids) if is_unfinished or one.is_known]
    rounds = sum((each.rounds for each in asked if is_unfinished), Counter())
    seconds = {name: own_seconds(lake, sae, batch, made, name) if is_unfinished else 0.0 for name in own}
    return Needs(counted, subject_tokens if is_unfinished else {}, seconds, rounds)


def _asks(stand_ins: Iterable["_StandIns"]) -> Asks:
    """Who can be asked, by role."""
    return {name: partial(each.ask, name) for each in stand_ins for name in each.max_draws}


def _known(lake: Lake, table: str, sae: str, batch: int) -> dict[str, Answer]:
    features = lake.config.selection.features_of(batch)
    folder = lake.root / LEDGER_FOLDER
    lake.fetched_lines(folder / table / sae)
    return replayed_answers(folder, table, sae, features[0], features[-1])


@dataclass
class _StandIns:
    """Answers of some roles in place of clients: what is known, else a stand-in; what was asked is kept.

    `max_draws` is how often each role is asked for an answer that can be used; stand-ins always can.
    """

    known: Mapping[str, Answer]
    max_draws: Mapping[RoleName, int]
    roles: dict[str, RoleName] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)
    replayed: set[str] = field(default_factory=set)
    rounds: Counter[str] = field(default_factory=Counter)

    def ask(self, name: RoleName, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        """An answer of a role each; what is known and cannot be used is asked for again, as in a run."""
        counting: dict[str, Answer] = {}
        drawn = {each.request.request_id: each for each in to_ask}
        for _ in range(self.max_draws[name]):
            self.rounds.update({each.request.purpose for each in drawn.values() if self._is_new(each)})
            useless = {}
            for first_id, each in drawn.items():
                self.roles.setdefault(each.request.request_id, name)
                answer = self._answer(each)
                if self._counts(each, answer):
                    counting[first_id] = answer
                else:
                    counting.setdefault(first_id, answer)
                    useless[first_id] = each._replace(request=next_draw(each.request, first_id))
            drawn = useless
        return counting

    def counted(self, plain: set[str]) -> list[Counted]:
        """What was asked; `plain` are the ids of the requests that are, by the draws that count."""
        plain = {_first_id(request) for request_id, request in self.requests.items() if request_id in plain}
        return [
            Counted(
                request,
                self.roles[request_id],
                request_id in self.replayed,
                _first_id(request) in plain,
                self.texts[request_id],
                request_id in self.certain,
            )
            for request_id, request in self.requests.items()
        ]

    def _counts(self, to_ask: ToAsk, answer: Answer) -> bool:
        """Whether a run would go by an answer, and ask for no other draw."""
        is_known = answer.request_id in self.replayed
        return not is_known or is_final(answer) or (answer.status == "ok" and to_ask.is_usable(answer))

    def _is_new(self, to_ask: ToAsk) -> bool:
        return self._replayed(to_ask) is None and to_ask.request.request_id not in self.requests

    def _replayed(self, to_ask: ToAsk) -> Answer | None:
        answer = self.known.get(to_ask.request.request_id)
        return None if answer is not None and to_ask.renews and answer.is_unsent else answer

    def _answer(self, to_ask: ToAsk) -> Answer:
        request, known = to_ask.request, self._replayed(to_ask)
        self.requests.setdefault(request.request_id, request)
        if known is not None:
            self.replayed.add(request.request_id)
        if to_ask.is_certain:
            self.certain.add(request.request_id)
        self.texts[request.request_id] = (known.text or "") if known else to_ask.stand_in
        # Whatever a server is asked for it is taken to give, until one has answered.
        probabilities = dict.fromkeys(request.keys, 0.5) or None
        return known or Answer(request.request_id, "ok", to_ask.stand_in, probabilities)


def _first_id(request: Request) -> str:
    """The id of a request's first draw."""
    return request.repeats or request.request_id


class _Reads:
    """Stands in for the subject model: it counts the tokens of texts, in which nothing fires."""

    def __init__(self) -> None:
        self.n_tokens = 0

    def read(self, lake: Lake, sae: str, texts: Sequence[Sequence[int]], features: Collection[int]) -> Activations:
        """See `firings.texts.text_activations`."""
        self.n_tokens += sum(map(len, texts))
        return {feature: [np.zeros(len(text), np.float32) for text in texts] for feature in features}
