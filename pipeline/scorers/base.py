"""What a scorer is: questions about explanations in, predictions out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import duckdb
import pyarrow as pa

from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Batch, Tools
from pipeline.tables import TABLES


class Prediction(NamedTuple):
    """What a scorer says to one question; the fields are columns of the table `predictions`.

    Attributes:
        explanation_id: The explanation that is judged.
        feature: Its feature.
        question_id: The question.
        example_id: The window that it is about, or None.
        marked: Positions that were marked in it, or None.
        label: The true answer, or None; of a choice, True.
        prediction: The scorer's answer, of a choice whether it is the right one; None unless the status is `ok`.
        probability: The scorer's probability of yes, or what else it ranks windows by; or None.
        status: As in the table.
        request_id: The request that it came from, or None.
        values: Predicted activations, for simulation; those on a text that the scorer wrote; else None.
        n_choices: Among how many was chosen; None where the answer is yes or no.
        strata: Further strata by which its answer is told, such as `rank 1`.
        cluster: What it shares with other questions about the explanation, so that their answers are alike: the
            texts of a trial. None where it is about a window, or shares nothing.
        text: The text that was judged, where the scorer wrote it; else None.
        token_ids: Its tokens, if it was read.
        decile: The train decile that its peak reaches; None where the feature does not fire in it.
    """

    explanation_id: str
    feature: int
    question_id: str
    example_id: str | None
    marked: Sequence[int] | None
    label: bool | None
    prediction: bool | None
    probability: float | None
    status: str
    request_id: str | None
    values: Sequence[float] | None = None
    n_choices: int | None = None
    strata: Sequence[str] | None = None
    cluster: str | None = None
    text: str | None = None
    token_ids: Sequence[int] | None = None
    decile: int | None = None


class Scorer(Protocol):
    """A plug-in: the object `scorer` of a package below `pipeline/scorers`.

    Attributes:
        name: Its name.
        role: In which role it asks a language model; None where it asks none.
    """

    name: str
    role: RoleName | None

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The questions about the explanations of `scored_explanations`, which the batch's connection sees.

        Columns: explanation_id, feature, question_id, example_id, marked, label, and draw, the place in which a
        question comes among those of its explanation and label.
        """
        ...

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """A prediction for each question that is put, in any order; it may ask several times."""
        ...


@runtime_checkable
class FindsForm(Protocol):
    """A scorer whose prompts have several forms, of which one is taken by what the server can do.

    The pilot finds it, so that all batches of an SAE are judged in one form, and so do answers of servers behind
    one address that differ.
    """

    def find_form(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> str | None:
        """The form, by the answer to the first prompt; None where the config says it, or the answer told none."""
        ...


class Piloted(NamedTuple):
    """What the pilot has told of a scorer: the form of its prompts, and its threshold; None where it told none."""

    form: str | None = None
    threshold: float | None = None


def piloted(scorer: str, tools: Tools) -> Piloted:
    """What the pilot has told of a scorer of that name, in the role of the tools."""
    rows = tools.batch.select("scorer_pilot", scorer=scorer + tools.role.suffix).fetchall()
    return Piloted(*rows[0]) if rows else Piloted()


def prediction_rows(sae: str, scorer: str, predictions: Sequence[Prediction]) -> pa.Table:
    """Predictions as rows of the table."""
    given = {name: [each[place] for each in predictions] for place, name in enumerate(Prediction._fields)}
    own = {"sae": sae, "scorer": scorer, "role": "test"}
    columns = given | {name: [value] * len(predictions) for name, value in own.items()}
    return pa.table(columns, TABLES["predictions"].schema)
