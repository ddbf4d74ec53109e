"""The interface of a scorer: questions about explanations in, predictions out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, Self, runtime_checkable

import duckdb
import pyarrow as pa

from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.tables import TABLES


class Prediction(NamedTuple):
    """A scorer's answer to one question; the fields are columns of the table `predictions`.

    Attributes:
        explanation_id: The explanation that is scored.
        feature: Its feature.
        question_id: The question.
        status: As in the table.
        example_id: The window that the question is about, or None.
        marked: Positions marked in the window, or None.
        label: The true answer, or None; True for a choice.
        prediction: The scorer's answer; for a choice, whether it is correct. None unless the status is `ok`.
        probability: The scorer's probability of yes, or another value by which it ranks windows; or None.
        request_id: The request that the answer came from, or None.
        values: Predicted activations, for simulation; the feature's activations on a text that the scorer wrote;
            else None.
        n_choices: Number of options of a choice; None for yes or no.
        strata: Further strata in which the answer is counted, such as `rank 1`.
        cluster: A key shared with other questions about the explanation whose answers are correlated: the texts of
            a trial. None if the question is about a window, or shares nothing.
        text: The text that was judged, if the scorer wrote it; else None.
        token_ids: The tokens of that text, if it was read.
        decile: The train decile that the text's peak reaches; None if the feature does not fire in it.
    """

    explanation_id: str
    feature: int
    question_id: str
    status: str
    example_id: str | None = None
    marked: Sequence[int] | None = None
    label: bool | None = None
    prediction: bool | None = None
    probability: float | None = None
    request_id: str | None = None
    values: Sequence[float] | None = None
    n_choices: int | None = None
    strata: Sequence[str] | None = None
    cluster: str | None = None
    text: str | None = None
    token_ids: Sequence[int] | None = None
    decile: int | None = None

    @classmethod
    def not_asked(cls, explanation_id: str, feature: int) -> Self:
        """The row of an explanation about which a scorer asks nothing; its question_id is the explanation's id."""
        return cls(explanation_id, feature, question_id=explanation_id, status="not_asked")


QUESTION_COLUMNS = ("explanation_id", "feature", "question_id", "example_id", "marked", "label", "draw")


class Scorer(Protocol):
    """A plug-in: the object `scorer` of a package below `pipeline/scorers`.

    Attributes:
        name: Its name.
        role: The role in which it asks a language model; None if it asks none.
    """

    name: str
    role: RoleKind | None

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The questions about the explanations in `scored_explanations`, a table of the batch's connection.

        Columns: `QUESTION_COLUMNS`; draw is the rank of the question among those of its explanation and label.
        """
        ...

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """A prediction for each question that is asked, in any order; it may ask several times."""
        ...


@runtime_checkable
class FindsForm(Protocol):
    """A scorer whose prompts have several forms, between which it chooses by what the server can do.

    The pilot finds the form once, so that all batches of an SAE use the same one, even if one address leads to
    servers that differ.
    """

    def find_form(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> str | None:
        """The form, from the answer to the first prompt; None if configured, or if the answer does not decide."""
        ...


class Piloted(NamedTuple):
    """What the pilot determined for a scorer: prompt form and threshold; None if undetermined."""

    form: str | None = None
    threshold: float | None = None


def piloted(scorer: str, tools: Tools) -> Piloted:
    """What the pilot determined for the scorer with this name, in the tools' role."""
    rows = tools.batch.select("scorer_pilot", scorer=scorer + tools.role.suffix).fetchall()
    return Piloted(*rows[0]) if rows else Piloted()


def prediction_rows(sae: str, scorer: str, predictions: Sequence[Prediction]) -> pa.Table:
    """Predictions as rows of the table."""
    given = {name: [getattr(each, name) for each in predictions] for name in Prediction._fields}
    own = {"sae": sae, "scorer": scorer, "role": "test"}
    columns = given | {name: [value] * len(predictions) for name, value in own.items()}
    return pa.table(columns, TABLES["predictions"].schema)
