"""The probability from which a scorer's answer counts as yes, set from its answers about controls.

Asked whether a window matches another feature's explanation, a model should say no. The P(yes) that it gives there
is its bias, the same as on silent windows of the right explanation. The threshold is therefore the value that one
in ten of these answers reaches. It is set on train windows, once per SAE, scorer and model, before anything is
judged.

Every feature of the pilot is paired with another one, or with several if the pilot is small, regardless of
`explaining.controls` and `scoring.max_features`. Each pair is asked about few windows: answers about one
explanation are correlated, so few answers about many pairs are more informative than many answers about few pairs.
"""

import math
from collections.abc import Iterable, Sequence

import polars as pl
import pyarrow as pa

from pipeline.asking.batches import Asks, for_purpose
from pipeline.asking.tools import Batch, Tools
from pipeline.config import Config
from pipeline.explainers.controls import Own, other_features
from pipeline.scorers.base import Prediction
from pipeline.scorers.write import load_scorer, tools_of
from pipeline.scorers.yes_no import YesNo
from pipeline.tables.explanations import explanation_id

LEAST_ANSWERS = 100
"""Minimum number of answers with a probability for a threshold: with 100, a share of one in ten has a standard
error of 3 percentage points."""

_WINDOWS_AN_ANSWER = 2
"""Train windows of a pair per answer wanted: in up to half of them, the other feature fires as well."""

_SPARE = 1.25
"""Factor on the answers requested, as features may lack windows and answers may lack probabilities."""

PAIRS = pa.schema(
    {
        "explanation_id": pa.string(),
        "feature": pa.int32(),
        "other_feature": pa.int32(),
        "explanation": pa.string(),
    }
)

ANSWERS = pa.schema({"scorer": pa.string(), "status": pa.string(), "probability": pa.float64()})


def yes_no_scorers(scorers: Iterable[str]) -> dict[str, YesNo]:
    """The scorers that ask yes or no, and so have a threshold, by name."""
    return {name: scorer for name in scorers if isinstance(scorer := load_scorer(name), YesNo)}


def control_pairs(batch: Batch) -> pa.Table:
    """Each of the pilot's features in a batch's tables with other ones' explanations; schema `PAIRS`."""
    batch.create("batch_features")
    batch.create("scored_explanations", asks_model=False)
    own = {feature: Own(*rest) for feature, *rest in batch.select("pilot_explanations").fetchall()}
    near = set(batch.select("batch_neighbours").fetchall())
    rows = [
        {
            "explanation_id": explanation_id(batch.sae, feature, f"other_feature {other}"),
            "feature": feature,
            "other_feature": other,
            "explanation": own[other].words,
        }
        for feature, other in other_features(own, near, others_a_feature(batch.lake.config))
    ]
    return pa.Table.from_pylist(rows, PAIRS)


def others_a_feature(config: Config) -> int:
    """Number of other explanations that each of the pilot's features is asked about."""
    n_windows = config.scoring.pilot_features * config.explaining.n_examples
    return math.ceil(_WINDOWS_AN_ANSWER * LEAST_ANSWERS / max(n_windows, 1))


def windows_a_pair(n_pairs: int) -> int:
    """Number of train windows that each of a pilot's pairs is asked about."""
    return math.ceil(_SPARE * LEAST_ANSWERS / max(n_pairs, 1))


def control_answers(
    batch: Batch, asks: Asks, scorers: Sequence[str], pairs: pa.Table, n_pairs: int, *, is_certain: bool = True
) -> pa.Table:
    """The answers of the yes-or-no scorers among `scorers` about a batch's pairs; schema `ANSWERS`.

    `n_pairs` is the number of pairs of the whole pilot, which determines the windows per pair.
    """
    asks = {
        role: for_purpose(ask, "thresholds" + role.removeprefix("scorer"), is_certain=is_certain)
        for role, ask in asks.items()
    }
    batch.create("scored_explanations", asks_model=True)
    batch.put("control_pairs", pairs)
    n_windows = windows_a_pair(n_pairs)
    rows = []
    for name, scorer in yes_no_scorers(scorers).items():
        for each in _put(scorer, tools_of(name, batch, asks), n_windows):
            rows.append({"scorer": name, "status": each.status, "probability": each.probability})
    return pa.Table.from_pylist(rows, ANSWERS)


def _put(scorer: YesNo, tools: Tools, n_windows: int) -> list[Prediction]:
    """Ask a scorer's questions about controls, with marks if its own questions have marks."""
    has_marks = bool(scorer.questions(tools.batch).filter("marked is not null").limit(1).fetchall())

    def questions(per_prompt: int) -> pl.DataFrame:
        given = {"n_windows": n_windows, "has_marks": has_marks, "questions_per_prompt": per_prompt}
        rows: pl.DataFrame = tools.batch.select("control_questions", **given).pl()
        return rows

    per_prompt, tools = scorer.form(tools, questions)
    return scorer.put(questions(per_prompt), tools, per_prompt)
