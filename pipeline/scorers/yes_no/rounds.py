"""The rounds in which questions are asked; one SQL query over all answers so far determines the next questions.

Without `scoring.target_half_width`, one round asks every question. With it, each round takes some questions of
each label, and stops asking about an explanation once the interval of its balanced accuracy is narrow enough
(`next_questions.sql`). An explanation's questions depend only on its own answers, and answers come from the
ledger, so that a run that was interrupted, or whose batch has other features, asks the same ones.
"""

from collections.abc import Iterator, Sequence

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.asking.tools import Batch
from pipeline.scorers.base import Prediction, prediction_rows
from pipeline.tables import TABLES

_GIVEN = ("predictions", "questions", "scored_explanations")
"""Relations that the connection has before the steps of `next_questions` run."""


class Rounds:
    """The questions of a scorer about a batch, round by round.

    >>> for due in rounds:               # columns of next_questions
    ...     rounds.record(predictions)   # one for each of them
    """

    def __init__(self, batch: Batch, scorer: str, questions: duckdb.DuckDBPyRelation, per_prompt: int) -> None:
        self._batch = batch
        self._per_prompt = per_prompt
        self._scorer = scorer
        self._answered = TABLES["predictions"].schema.empty_table()
        batch.put("own_questions", questions.to_arrow_table())
        batch.create("questions", scorer=scorer)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """The questions of each round, until there are none; the caller records each round before the next."""
        while not (due := self.due()).is_empty():
            n_before = self._answered.num_rows
            yield due
            if self._answered.num_rows != n_before + due.height:
                raise RuntimeError("not all questions of a round were recorded, so the rounds would never end")

    def due(self) -> pl.DataFrame:
        """The next questions, given the answers so far."""
        self._batch.put("predictions", self._answered)
        rows: pl.DataFrame = self._batch.make("next_questions", _GIVEN, questions_per_prompt=self._per_prompt).pl()
        return rows

    def record(self, predictions: Sequence[Prediction]) -> None:
        """Add the answers of a round."""
        rows = prediction_rows(self._batch.sae, self._scorer, predictions)
        self._answered = pa.concat_tables([self._answered, rows])
