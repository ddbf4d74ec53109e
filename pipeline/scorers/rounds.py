"""The rounds in which questions are put: which come next is one SQL over the answers of all explanations so far.

Without `scoring.target_half_width` one round puts every question. With it a round takes some of each answer, and
an explanation is asked no more once the interval of its balanced accuracy is narrow enough: `next_questions.sql`.
An explanation's questions depend on its own answers alone, and answers come from the ledger, so that a run that
was interrupted, or has other features in its batch, puts the same ones.
"""

from collections.abc import Iterator, Sequence

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.lake import Lake
from pipeline.tables import TABLES

_QUESTIONS = ("scored_explanations", "detection_questions", "fuzzing_questions", "questions")
_ANSWERED = ("question_answers", "rate_intervals", "balanced_accuracies")


class Rounds:
    """The questions of a batch, round by round, in a connection to that batch's tables.

    >>> for questions in rounds:         # columns of next_questions
    ...     rounds.record(predictions)   # rows of `predictions`, one for each of them
    """

    def __init__(self, lake: Lake, connection: duckdb.DuckDBPyConnection, sae: str) -> None:
        self._lake = lake
        self._connection = connection
        self._sae = sae
        self._answered = TABLES["predictions"].schema.empty_table()
        for name in _QUESTIONS:
            lake.create_temporary(connection, name, sae=sae)

    @property
    def predictions(self) -> pa.Table:
        """What has been recorded, in the order of its key."""
        keys = ("feature", "explanation_id", "scorer", "question_id")
        return self._answered.sort_by([(key, "ascending") for key in keys])

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """The questions of each round, until there are none; those of a round are recorded before the next."""
        while True:
            self._judge()
            questions = self._lake.select(self._connection, "next_questions", sae=self._sae).pl()
            if questions.is_empty():
                return
            n_before = self._answered.num_rows
            yield questions
            if self._answered.num_rows != n_before + questions.height:
                raise RuntimeError("a round's questions were not all recorded; it would never end")

    def record(self, predictions: Sequence[dict[str, object]]) -> None:
        """Add the answers of a round."""
        rows = pa.Table.from_pylist(list(predictions), TABLES["predictions"].schema)
        self._answered = pa.concat_tables([self._answered, rows])

    def _judge(self) -> None:
        """Judge the answers so far; a temporary table hides the view of what an earlier run has published."""
        self._connection.register("answered", self._answered)
        self._connection.execute("create or replace temp table predictions as from answered")
        self._connection.unregister("answered")
        for name in _ANSWERED:
            self._lake.create_temporary(self._connection, name, sae=self._sae)
