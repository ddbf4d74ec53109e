"""Simulation (Bills et al. 2023): how strongly, from 0 to 10, does the feature fire on each token of this window?

All tokens of a window are asked about at once. Where a server gives the log-probabilities of a prompt, or a model
in this process answers, each value is the mean of 0 to 10 by their probabilities in the token's place; else the
model writes whole numbers. The score compares them with what the feature did: `sql/scores/simulation_scores.sql`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from pipeline.asking.batches import ToAsk
from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Batch, Tools
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.llm import Answer, Request
from pipeline.plugins import find_plugin
from pipeline.scorers.base import Prediction
from pipeline.scorers.simulation.requests import Window, blank_request, stand_in, structured_request, values_of

_SQL = find_plugin("scorers", "simulation").path / "questions.sql"


class Simulation:
    """Predicts the activation of every token."""

    name = "simulation"
    role: RoleName | None = "scorer"

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The strongest test windows of each explanation's feature, some by draw, and some silent ones."""
        return batch.select(_SQL)

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """The values of each window, on the scale from 0 to 10; without one of them there are none."""
        rows = questions.pl().to_dicts()
        windows = [Window.of(row["explanation"], row["token_ids"], tools.vocabulary) for row in rows]
        request_of = _form(rows, windows, tools)
        requests = [request_of(tools, row["feature"], window) for row, window in zip(rows, windows, strict=True)]
        answers = tools.ask([_to_ask(tools, *pair) for pair in zip(requests, windows, strict=True)])
        for row, window, request in zip(rows, windows, requests, strict=True):
            yield _prediction(row, window, answers[request.request_id])


scorer = Simulation()


def check(config: Config) -> None:
    """Raise ConfigError if the method is none of the provider's."""
    method, provider = _method(config), config.scoring.provider
    if method == "local" and provider == "openai":
        raise ConfigError(
            "scoring.simulation.method is local, but scoring.provider is openai: a server's method is all_at_once "
            "or structured, and auto finds out which"
        )
    if method == "all_at_once" and provider == "local":
        raise ConfigError(
            "scoring.simulation.method is all_at_once, but scoring.provider is local: in this process it is local"
        )


def _method(config: Config) -> str:
    method: str = config.scoring.simulation.method  # type: ignore[attr-defined]  # a plug-in's section
    return method


def _form(rows: Sequence[Mapping[str, Any]], windows: Sequence[Window], tools: Tools) -> Any:
    """How windows are asked about: a server that gives no log-probabilities of a prompt refuses the first.

    Raises ConfigError if it does, and the config wants them.
    """
    method = _method(tools.config)
    if method == "structured" or not rows:
        return structured_request
    if method == "local" or tools.role.is_local:
        return blank_request
    first = blank_request(tools, rows[0]["feature"], windows[0])
    answer = tools.ask([_to_ask(tools, first, windows[0])])[first.request_id]
    if not answer.is_unsent:
        return blank_request
    if method == "all_at_once":
        raise ConfigError(
            f"scoring.simulation.method is all_at_once, but for model '{tools.role.model}' the server gives no "
            "log-probabilities of a prompt from which numbers from 0 to 10 can be read; set it to structured"
        )
    return structured_request


def _to_ask(tools: Tools, request: Request, window: Window) -> ToAsk:
    return ToAsk(
        request,
        lambda answer: values_of(answer, window) is not None,
        stand_in(request, window),
        renews=_method(tools.config) == "all_at_once",  # `auto` keeps to what it found out
    )


def _prediction(row: Mapping[str, Any], window: Window, answer: Answer) -> Prediction:
    values = values_of(answer, window) if answer.status == "ok" else None
    return Prediction(
        explanation_id=row["explanation_id"],
        feature=row["feature"],
        question_id=row["question_id"],
        example_id=row["example_id"],
        marked=None,
        label=None,
        prediction=None,
        probability=None,
        status="unparsed" if answer.status == "ok" and values is None else answer.status,
        request_id=answer.request_id,
        values=values,
        strata=row["strata"],
    )
