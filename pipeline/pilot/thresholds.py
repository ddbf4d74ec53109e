"""The probability from which an answer of a scorer counts as yes, set from its answers about controls.

Asked whether a window matches another feature's explanation, a model should say no. The P(yes) that it gives there
is its habit, and the same as on silent windows of the right explanation. So the threshold is the value that one in
ten of these answers reach. It is set on train windows, once per SAE, scorer and model, before anything is judged.
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl
import pyarrow as pa

from pipeline.asking.batches import Ask, Asks, ToAsk
from pipeline.asking.tools import Batch, Tools
from pipeline.llm import Answer
from pipeline.scorers.base import Prediction
from pipeline.scorers.write import load_scorer, tools_of
from pipeline.scorers.yes_no import YesNo
from pipeline.scorers.yes_no.requests import AT_ONCE

LEAST_ANSWERS = 100
"""Fewer answers with a probability set no threshold: with so many a share of one in ten has a standard error of
3 percentage points."""

_WINDOWS = 10

ANSWERS = pa.schema({"scorer": pa.string(), "status": pa.string(), "probability": pa.float64()})


def yes_no_scorers(scorers: Iterable[str]) -> dict[str, YesNo]:
    """Those among some scorers that ask yes or no, and so have a threshold, by name."""
    return {name: scorer for name in scorers if isinstance(scorer := load_scorer(name), YesNo)}


def control_answers(batch: Batch, asks: Asks, scorers: Sequence[str], *, is_certain: bool = True) -> pa.Table:
    """What the yes-or-no scorers among some say about the controls of a batch's tables, by `ANSWERS`."""
    asks = {role: _told(ask, "thresholds" + role.removeprefix("scorer"), is_certain) for role, ask in asks.items()}
    batch.create("scored_explanations", asks_model=True)
    rows = []
    for name, scorer in yes_no_scorers(scorers).items():
        for each in _put(scorer, tools_of(name, batch, asks)):
            rows.append({"scorer": name, "status": each.status, "probability": each.probability})
    return pa.Table.from_pylist(rows, ANSWERS)


def _put(scorer: YesNo, tools: Tools) -> list[Prediction]:
    """Put a scorer's questions about controls, with marks where its own have some."""
    has_marks = bool(scorer.questions(tools.batch).filter("marked is not null").limit(1).fetchall())

    def questions(per_prompt: int) -> pl.DataFrame:
        given = {"n_windows": _WINDOWS, "has_marks": has_marks, "questions_per_prompt": per_prompt}
        rows: pl.DataFrame = tools.batch.select("control_questions", **given).pl()
        return rows

    per_prompt, tools = scorer.form(tools, lambda: [questions(AT_ONCE)])
    return scorer.put(questions(per_prompt), tools, per_prompt)


def _told(ask: Ask, purpose: str, is_certain: bool) -> Ask:
    """The same, for a purpose."""

    def told(to_ask: Sequence[ToAsk]) -> Mapping[str, Answer]:
        return ask([each.of(purpose, is_certain=is_certain) for each in to_ask])

    return told
