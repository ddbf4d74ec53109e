"""Counts the requests of a batch by running the code that would send them, without sending anything.

Examples, explanations and predictions are made as in a run but not written. Scorers that send no requests are
timed on a few features; of the subject model's forward passes, only the tokens are counted. Requests that the
ledger holds are answered from it; the others get stand-ins. A stand-in explanation has a typical length (some 30
tokens, Juang et al. 2024), and so do the scoring prompts that contain it. Half of a scorer's stand-in answers are
correct, which makes intervals widest: where scoring stops by their width, real answers need no more requests.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.asking.batches import Asks, Ledgers, asks_of
from pipeline.asking.roles import scorer_roles
from pipeline.asking.stand_ins import Counted, StandInAsker
from pipeline.config import Config
from pipeline.estimate.own_models import asks_nobody, own_seconds
from pipeline.explainers.write import explaining_ledgers, explanations_table
from pipeline.firings.texts import Activations
from pipeline.lake import Lake
from pipeline.pilot.thresholds import control_answers, control_pairs, others_a_feature
from pipeline.pilot.unwritten import Tables, unwritten_batch, unwritten_windows
from pipeline.scorers.write import predictions_table, scoring_ledgers
from pipeline.tables import TABLES
from pipeline.tables.inputs import is_made
from pipeline.tables.stages import BATCH_TABLES, STAGES


class Needs(NamedTuple):
    """What a run would need.

    Attributes:
        requests: Every request once, in the order in which a run would send them.
        subject_tokens: Tokens that the subject model would read, by scorer, and by table that it makes.
        own_seconds: Seconds taken by scorers that send no requests, by scorer.
        rounds: Number of successive rounds in which requests are sent, by purpose.
    """

    requests: list[Counted]
    subject_tokens: dict[str, int]
    own_seconds: dict[str, float]
    rounds: Counter[str]


def count_requests(
    lake: Lake,
    sae: str,
    batch: int,
    selected: pa.Table,
    pilot: pa.Table,
    *,
    is_unfinished: bool = True,
    rates: dict[str, float] | None = None,
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
        rates: See `own_seconds`.
    """
    run = _run_through(lake, sae, batch, selected, pilot)
    plain = _plain_requests(lake, sae, batch, run.made)
    controls = set().union(*(_control_requests(lake.config, made) for made in (run.made, run.piloted) if made))
    own = [name for name in lake.config.scoring.scorers if asks_nobody(lake.config, name)]
    requests = [each for asker in run.askers for each in _counted(asker, plain, controls)]
    if not is_unfinished:
        return Needs([each for each in requests if each.is_known], {}, dict.fromkeys(own, 0.0), Counter())
    rates = {} if rates is None else rates
    seconds = {name: own_seconds(lake, sae, batch, run.made, name, rates) for name in own}
    rounds = sum((asker.rounds for asker in run.askers), Counter[str]())
    return Needs(requests, run.subject_tokens, seconds, rounds)


class _RunThrough(NamedTuple):
    """A batch made with stand-ins.

    Attributes:
        made: Its tables, up to `predictions`.
        piloted: The same for the features of the pilot; None without a pilot.
        askers: What was asked, ledger by ledger in the order of a run.
        subject_tokens: As in `Needs`.
    """

    made: Tables
    piloted: Tables | None
    askers: Sequence[StandInAsker]
    subject_tokens: dict[str, int]


def _run_through(lake: Lake, sae: str, batch: int, selected: pa.Table, pilot: pa.Table) -> _RunThrough:
    """Make a batch's tables as a run would, those of the pilot's features first, with stand-ins for the models."""
    config = lake.config
    with ExitStack() as stack:

        def opened(ledgers: Ledgers) -> list[StandInAsker]:
            return [
                stack.enter_context(StandInAsker(lake, ledger, names, sae, batch))
                for ledger, names in ledgers.items()
            ]

        explaining = opened(explaining_ledgers(config))
        thresholds = opened({"thresholds": scorer_roles(config)})
        scoring = opened(scoring_ledgers(config))
        make = partial(_make, lake, sae, batch, asks_of(explaining), asks_of(scoring))
        piloted = None
        if pilot.num_rows:  # whose answers the batch's own requests then find in the ledger
            piloted, _ = make(pilot)
            if config.scoring.threshold == "controls":
                with unwritten_batch(lake, sae, batch, piloted) as own:
                    pairs = control_pairs(own)
                    n_pairs = config.scoring.pilot_features * others_a_feature(config)
                    control_answers(
                        own, asks_of(thresholds), config.scoring.scorers, pairs, n_pairs, is_certain=False
                    )
        made, subject_tokens = make(selected)
    return _RunThrough(made, piloted, (*explaining, *thresholds, *scoring), subject_tokens)


def _make(
    lake: Lake, sae: str, batch: int, explaining: Asks, scoring: Asks, selected: pa.Table
) -> tuple[Tables, dict[str, int]]:
    """The tables of some features of a batch, up to `predictions`; and the tokens that the subject model reads."""
    config, subject_tokens = lake.config, {}
    made = unwritten_windows(lake, sae, batch, selected)
    for table in BATCH_TABLES:
        if STAGES[table].is_on_demand and is_made(config, table):
            made[table], subject_tokens[table] = STAGES[table].stand_in(lake, sae, batch, made)
    with unwritten_batch(lake, sae, batch, made) as own:
        made["explanations"] = explanations_table(own, explaining)
    parts = [TABLES["predictions"].schema.empty_table()]
    with unwritten_batch(lake, sae, batch, made) as own:
        for name in config.scoring.scorers:
            if not asks_nobody(config, name):
                reads = _Reads()
                parts.append(predictions_table(own, scoring, [name], reads.read))
                subject_tokens[name] = reads.n_tokens
    made["predictions"] = pa.concat_tables(parts)
    return made, subject_tokens


def _counted(asker: StandInAsker, plain: Collection[str], controls: Collection[str]) -> list[Counted]:
    """What was asked; all draws of a request are plain if `plain` has the id of one of them, as for `controls`."""
    counted = asker.counted.values()

    def firsts(request_ids: Collection[str]) -> set[str]:
        return {each.request.first_id for each in counted if each.request.request_id in request_ids}

    are_plain, are_controls = firsts(plain), firsts(controls)
    return [
        each._replace(
            is_plain=each.request.first_id in are_plain, is_control=each.request.first_id in are_controls
        )
        for each in counted
    ]


def _plain_requests(lake: Lake, sae: str, batch: int, made: Tables) -> set[str]:
    """The ids of requests that explain features of route `llm`, or score their explanations, controls left out."""
    explained = lake.query("explained_features", sae=sae, batch=batch, given=made)
    plain = (
        pl.DataFrame(made["explanations"])
        .join(explained.filter(pl.col("route") == "llm"), on="feature", how="semi")
        .filter(_is_own(lake.config))
    )
    scored = pl.DataFrame(made["predictions"]).join(plain, on="explanation_id", how="semi")
    asked = {*plain["request_id"], *plain["judge_request_ids"].explode(), *scored["request_id"]}
    return asked - {None}


def _control_requests(config: Config, made: Tables) -> set[str]:
    """The ids of requests that only score controls.

    A scorer that judges features and no explanation (`intruder`) has its answers at a control, too: they count
    as its own.
    """
    explainers = pl.DataFrame(made["explanations"]).select("explanation_id", "explainer")
    scored = pl.DataFrame(made["predictions"]).join(explainers, on="explanation_id")
    is_own = _is_own(config)
    controls = scored.filter(~is_own & is_own.any().over("scorer"))["request_id"]
    return {*controls} - {*scored.filter(is_own)["request_id"], None}


def _is_own(config: Config) -> pl.Expr:
    """Whether an explanation is one of the config's explainers', and no control."""
    return pl.col("explainer").is_in(config.explaining.explainers)


class _Reads:
    """Takes the place of the subject model: counts the tokens of texts, in which nothing fires."""

    def __init__(self) -> None:
        self.n_tokens = 0

    def read(self, lake: Lake, sae: str, texts: Sequence[Sequence[int]], features: Collection[int]) -> Activations:
        """See `firings.texts.text_activations`."""
        self.n_tokens += sum(map(len, texts))
        return {feature: [np.zeros(len(text), np.float32) for text in texts] for feature in features}
