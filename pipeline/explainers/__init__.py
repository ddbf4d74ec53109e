"""Explanations: of LLMs, of rules, and the controls against which they are read."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.asking.batches import BatchAsker
from pipeline.asking.windows import load_vocabulary
from pipeline.explainers.default import Shown, explain_request, parse_explanation
from pipeline.lake import Lake, Published
from pipeline.llm import Answer, Request
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES

Row = dict[str, object]


class ToExplain(NamedTuple):
    """A batch's features (see `explained_features.sql`), what each is shown, and the requests by feature."""

    features: pl.DataFrame
    shown: Mapping[int, Sequence[Shown]]
    requests: Mapping[int, Request]


def write_explanations(lake: Lake, sae: str, batch: int) -> Published:
    """Explain the selected features of a batch; figures: explanations by status, requests sent and replayed.

    Features of route `rule` are told by their rule; all others by the LLM, with the rule beside it as a
    baseline. The first features of the batch by draw get controls.

    Raises:
        LakeError: An input is missing, or another run is at work on the batch.
        ConfigError: The endpoint cannot be used as the config says.
    """
    lake.require(*STAGES["explanations"].inputs, sae=sae, batch=batch)
    with lake.connect(sae, batch) as connection:
        to_explain = read_to_explain(lake, connection, sae, batch)
    with BatchAsker(lake, "explanations", sae, batch) as asker:
        answers = asker.ask(list(to_explain.requests.values()), _has_explanation)
    table = explanations_table(sae, to_explain, answers)
    published = lake.write("explanations", table, sae=sae, batch=batch)
    by_status: dict[str, float | int | str] = dict(pl.DataFrame(table)["status"].value_counts().iter_rows())
    return Published("explanations", published.path, published.n_rows, {**by_status, **asker.figures})


def read_to_explain(lake: Lake, connection: duckdb.DuckDBPyConnection, sae: str, batch: int) -> ToExplain:
    """The selected features of a batch, from the tables that a connection sees."""
    lake.create_temporary(connection, "batch_features", sae=sae, batch=batch)
    features = lake.select(connection, "explained_features", sae=sae).pl()
    shown = _shown_by_feature(lake.select(connection, "shown_examples").pl())
    vocabulary = load_vocabulary(lake)
    requests = {
        feature: explain_request(lake.config.explaining, sae, feature, shown[feature], vocabulary)
        for feature, route in features.select("feature", "route").iter_rows()
        if route != "rule" and feature in shown
    }
    return ToExplain(features, shown, requests)


def explanations_table(sae: str, to_explain: ToExplain, answers: Mapping[str, Answer]) -> pa.Table:
    """The rows of `explanations`, from the answers by request_id."""
    rows = list(_explained(sae, *to_explain, answers))
    rows += _controls(sae, to_explain.features, rows)
    schema = TABLES["explanations"].schema
    return pa.Table.from_pylist(sorted(rows, key=lambda row: (row["feature"], row["explainer"])), schema)


def explanation_id(sae: str, feature: int, explainer: str, draw: int = 0) -> str:
    """The id of an explanation, 32 hex digits."""
    return hashlib.sha256(f"{sae} {feature} {explainer} {draw}".encode()).hexdigest()[:32]


def _has_explanation(request: Request, answer: Answer) -> bool:
    return parse_explanation(answer.text or "") is not None


def _shown_by_feature(rows: pl.DataFrame) -> dict[int, list[Shown]]:
    shown: dict[int, list[Shown]] = {}
    for feature, *window in rows.select("feature", "example_id", "token_ids", "activations").iter_rows():
        shown.setdefault(feature, []).append(Shown(*window))
    return shown


def _explained(
    sae: str,
    features: pl.DataFrame,
    shown: Mapping[int, Sequence[Shown]],
    requests: Mapping[int, Request],
    answers: Mapping[str, Answer],
) -> Iterator[Row]:
    """The rows of the LLM and of the rules."""
    for row in features.iter_rows(named=True):
        feature = row["feature"]
        if feature in requests:
            answer = answers[requests[feature].request_id]
            words = parse_explanation(answer.text or "") if answer.status == "ok" else None
            status = "unparsed" if answer.status == "ok" and words is None else answer.status
            example_ids = [window.example_id for window in shown[feature]]
            yield _row(sae, feature, "default", words, example_ids, status, answer.request_id)
        if row["rule"] is not None:
            yield _row(sae, feature, "rule", row["rule"], [], "ok", None)


def _controls(sae: str, features: pl.DataFrame, rows: Sequence[Row]) -> Iterator[Row]:
    """The empty explanation, and another control feature's: the next one by draw whose words differ."""
    own = {row["feature"]: row["explanation"] for row in rows if row["explainer"] == "rule"}
    own |= {row["feature"]: row["explanation"] for row in rows if row["explainer"] == "default"}
    controls = features.filter("is_control").sort("place")["feature"].to_list()
    told = [feature for feature in controls if own.get(feature)]
    for feature in controls:
        yield _row(sae, feature, "empty", "", [], "ok", None)
    for number, feature in enumerate(told):
        for other in told[number + 1 :] + told[:number]:
            if own[other] != own[feature]:
                yield _row(sae, feature, "other_feature", own[other], [], "ok", None)
                break


def _row(
    sae: str,
    feature: int,
    explainer: str,
    words: object,
    example_ids: list[str],
    status: str,
    request_id: str | None,
) -> Row:
    return {
        "explanation_id": explanation_id(sae, feature, explainer),
        "sae": sae,
        "feature": feature,
        "explainer": explainer,
        "draw": 0,
        "explanation": words,
        "example_ids": example_ids,
        "status": status,
        "request_id": request_id,
    }
