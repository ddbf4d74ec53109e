"""Counts the requests of a batch by running the code that would send them, without sending anything.

Examples, explanations and predictions are made as in a run but not written. Scorers that send no requests are
timed on a few features; of the subject model's forward passes, only the tokens are counted. Requests that the
ledger holds are answered from it; the others get stand-ins. A stand-in explanation has a typical length (some 30
tokens, Juang et al. 2024), and so do the scoring prompts that contain it. Half of a scorer's stand-in answers are
correct, which makes intervals widest: where scoring stops by their width, real answers need no more requests.
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
from pipeline.explainers.write import explaining_ledgers, explanations_table
from pipeline.features.steered_texts import stand_in_texts
from pipeline.firings.texts import Activations
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.llm import Answer, Request
from pipeline.llm.ledger.answers import replayed_answers
from pipeline.make_table import read_rows
from pipeline.pilot.thresholds import control_answers, control_pairs
from pipeline.pilot.unwritten import Tables, unwritten_batch, unwritten_windows
from pipeline.scorers.write import predictions_table, scoring_ledgers
from pipeline.tables import TABLES
from pipeline.tables.versions import is_made


class Counted(NamedTuple):
    """A request that a run would need.

    Attributes:
        request: The request.
        role: The role that is asked.
        is_known: Whether the ledger holds its answer.
        is_certain: Whether it is asked regardless of earlier answers.
        answer: The ledger's answer, or the text of a stand-in.
        is_plain: Whether it explains a feature of route `llm` or scores such an explanation, rather than a control
            or a rule.
    """

    request: Request
    role: RoleName
    is_known: bool = False
    is_certain: bool = False
    answer: str = ""
    is_plain: bool = False


class Needs(NamedTuple):
    """What a run would need.

    Attributes:
        requests: Every request once, in the order in which a run would send them.
        subject_tokens: Tokens that the subject model would read, by scorer, and for the table `steered_texts`.
        own_seconds: Seconds taken by scorers that send no requests, by scorer.
        rounds: Number of successive rounds in which requests are sent, by purpose.
    """

    requests: list[Counted]
    subject_tokens: dict[str, int]
    own_seconds: dict[str, float]
    rounds: Counter[str]


def count_requests(
    lake: Lake, sae: str, batch: int, selected: pa.Table, pilot: pa.Table, *, is_unfinished: bool = True
) -> Needs:
    """What a run would need for a batch.

    A finished batch is not made again, even if the selection or the corpus has changed: it sends nothing that the
    ledger lacks, reads nothing, and leaves nothing to do for scorers that send no requests.

    Args:
        lake: The lake.
        sae, batch: The batch.
        selected: The rows of `selected_features`; the tables that follow from them are made here.
        is_unfinished: False if the batch is finished.
        pilot: The features of the batch that a pilot asks about first, rows of `selected_features`.
    """
    run = _run_through(lake, sae, batch, selected, pilot)
    plain = _plain_requests(lake, sae, batch, run.made)
    own = [name for name in lake.config.scoring.scorers if asks_nobody(lake.config, name)]
    requests = [each for stand_ins in run.stand_ins for each in stand_ins.counted(plain)]
    if not is_unfinished:
        return Needs([each for each in requests if each.is_known], {}, dict.fromkeys(own, 0.0), Counter())
    seconds = {name: own_seconds(lake, sae, batch, run.made, name) for name in own}
    rounds = sum((each.rounds for each in run.stand_ins), Counter[str]())
    return Needs(requests, run.subject_tokens, seconds, rounds)


class _RunThrough(NamedTuple):
    """A batch made with stand-ins.

    Attributes:
        made: Its tables, up to `predictions`.
        stand_ins: What was asked, ledger by ledger in the order of a run.
        subject_tokens: As in `Needs`.
    """

    made: Tables
    stand_ins: Sequence["_StandIns"]
    subject_tokens: dict[str, int]


def _run_through(lake: Lake, sae: str, batch: int, selected: pa.Table, pilot: pa.Table) -> _RunThrough:
    """Make a batch's tables as a run would, those of the pilot's features first, with stand-ins for the models."""
    config = lake.config
    explaining, thresholds, scoring = (
        [
            _StandIns(_known(lake, ledger, sae, batch), {name: role_of(config, name).max_draws for name in names})
            for ledger, names in ledgers.items()
        ]
        for ledgers in (explaining_ledgers(config), {"thresholds": scorer_roles(config)}, scoring_ledgers(config))
    )
    if pilot.num_rows:  # whose answers the batch's own requests then find in the ledger
        made, _ = _make(lake, sae, batch, pilot, explaining, scoring)
        if config.scoring.threshold == "controls":
            with unwritten_batch(lake, sae, batch, made) as own:
                pairs, n_pairs = control_pairs(own), config.scoring.pilot_features
                control_answers(own, _asks(thresholds), config.scoring.scorers, pairs, n_pairs, is_certain=False)
    made, subject_tokens = _make(lake, sae, batch, selected, explaining, scoring)
    return _RunThrough(made, (*explaining, *thresholds, *scoring), subject_tokens)


def _make(
    lake: Lake,
    sae: str,
    batch: int,
    selected: pa.Table,
    explaining: Sequence["_StandIns"],
    scoring: Sequence["_StandIns"],
) -> tuple[Tables, dict[str, int]]:
    """The tables of some features of a batch, up to `predictions`; and the tokens that the subject model reads."""
    config, subject_tokens = lake.config, {}
    made = unwritten_windows(lake, sae, batch, selected)
    if is_made(config, "steered_texts"):
        made["steered_texts"], subject_tokens["steered_texts"] = stand_in_texts(lake, sae, batch, selected)
    if is_made(config, "token_changes"):
        made["token_changes"] = read_rows(lake, "assumed_changes", sae=sae, batch=batch, given=made)
    with unwritten_batch(lake, sae, batch, made) as own:
        made["explanations"] = explanations_table(own, _asks(explaining))
    parts = [TABLES["predictions"].schema.empty_table()]
    with unwritten_batch(lake, sae, batch, made) as own:
        for name in config.scoring.scorers:
            if not asks_nobody(config, name):
                reads = _Reads()
                parts.append(predictions_table(own, _asks(scoring), [name], reads.read))
                subject_tokens[name] = reads.n_tokens
    made["predictions"] = pa.concat_tables(parts)
    return made, subject_tokens


def _plain_requests(lake: Lake, sae: str, batch: int, made: Tables) -> set[str]:
    """The ids of requests that explain features of route `llm`, or score these explanations."""
    explained = lake.query("explained_features", sae=sae, batch=batch, given=made)
    plain = (
        pl.DataFrame(made["explanations"])
        .join(explained.filter(pl.col("route") == "llm"), on="feature", how="semi")
        .filter(pl.col("request_id").is_not_null())
    )
    scored = pl.DataFrame(made["predictions"]).join(plain, on="explanation_id", how="semi")
    return {*plain["request_id"], *plain["judge_request_ids"].explode(), *scored["request_id"]}


def _asks(stand_ins: Iterable["_StandIns"]) -> Asks:
    """The function that asks each role."""
    return {name: partial(each.ask, name) for each in stand_ins for name in each.max_draws}


def _known(lake: Lake, table: str, sae: str, batch: int) -> dict[str, Answer]:
    """The answers in a batch's ledger, by request_id."""
    features = lake.config.selection.features_of(batch)
    folder = lake.root / LEDGER_FOLDER
    lake.fetched_lines(folder / table / sae)
    return replayed_answers(folder, table, sae, features[0], features[-1])


@dataclass
class _StandIns:
    """Answers for some roles without a client: the ledger's where it has one, else a stand-in.

    Attributes:
        known: The ledger's answers, by request_id.
        max_draws: Maximum draws of a request, by role; the first stand-in is always usable.
        asked: Every request asked, by request_id, in order.
        rounds: How often new requests were sent together, by purpose.
    """

    known: Mapping[str, Answer]
    max_draws: Mapping[RoleName, int]
    asked: dict[str, Counted] = field(default_factory=dict)
    rounds: Counter[str] = field(default_factory=Counter)

    def ask(self, name: RoleName, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        """An answer for each request; after a known answer that cannot be used, the next draw, as in a run."""
        counting: dict[str, Answer] = {}
        drawn = {each.request.request_id: each for each in to_ask}
        for _ in range(self.max_draws[name]):
            self.rounds.update({each.request.purpose for each in drawn.values() if self._is_new(each)})
            useless = {}
            for first_id, each in drawn.items():
                answer = self._answer(name, each)
                if self._counts(each, answer):
                    counting[first_id] = answer
                else:
                    counting.setdefault(first_id, answer)
                    useless[first_id] = each._replace(request=next_draw(each.request, first_id))
            drawn = useless
        return counting

    def counted(self, plain: Collection[str]) -> list[Counted]:
        """What was asked; all draws of a request are plain if `plain` has the id of one of them."""
        plain = {_first_id(each.request) for request_id, each in self.asked.items() if request_id in plain}
        return [each._replace(is_plain=_first_id(each.request) in plain) for each in self.asked.values()]

    def _counts(self, to_ask: ToAsk, answer: Answer) -> bool:
        """Whether a run would use an answer, and so ask for no further draw."""
        is_known = self.asked[answer.request_id].is_known
        return not is_known or is_final(answer) or (answer.status == "ok" and to_ask.is_usable(answer))

    def _is_new(self, to_ask: ToAsk) -> bool:
        return self._replayed(to_ask) is None and to_ask.request.request_id not in self.asked

    def _replayed(self, to_ask: ToAsk) -> Answer | None:
        answer = self.known.get(to_ask.request.request_id)
        return None if answer is not None and to_ask.renews and answer.is_unsent else answer

    def _answer(self, name: RoleName, to_ask: ToAsk) -> Answer:
        request, known = to_ask.request, self._replayed(to_ask)
        before = self.asked.get(request.request_id, Counted(request, name))
        self.asked[request.request_id] = before._replace(
            is_known=before.is_known or known is not None,
            is_certain=before.is_certain or to_ask.is_certain,
            answer=(known.text or "") if known else to_ask.stand_in,
        )
        # Until a server has answered, it is assumed to give every probability that is requested.
        probabilities = dict.fromkeys(request.keys, 0.5) or None
        return known or Answer(request.request_id, "ok", to_ask.stand_in, probabilities)


def _first_id(request: Request) -> str:
    """The id of a request's first draw."""
    return request.repeats or request.request_id


class _Reads:
    """Takes the place of the subject model: counts the tokens of texts, in which nothing fires."""

    def __init__(self) -> None:
        self.n_tokens = 0

    def read(self, lake: Lake, sae: str, texts: Sequence[Sequence[int]], features: Collection[int]) -> Activations:
        """See `firings.texts.text_activations`."""
        self.n_tokens += sum(map(len, texts))
        return {feature: [np.zeros(len(text), np.float32) for text in texts] for feature in features}
