"""Simulation (Bills et al. 2023): how strongly, from 0 to 10, does the feature fire on each token of this window?

All tokens of a window are asked about at once. If a server returns log-probabilities of a prompt, or a model in
this process answers, each value is the expected value of 0 to 10 under the probabilities at the token's line;
otherwise the model writes integers. The score compares them with the true activations:
`sql/scores/simulation_scores.sql`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from pipeline.asking.batches import ToAsk
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.config import Config, settings_of
from pipeline.errors import ConfigError
from pipeline.llm import Answer, Request
from pipeline.llm.requests import FAILED
from pipeline.scorers.base import Prediction, piloted
from pipeline.scorers.requests import status_of
from pipeline.scorers.simulation.requests import (
    SimulatedWindow,
    blank_request,
    stand_in,
    structured_request,
    values_of,
)
from pipeline.scorers.simulation.settings import Settings

_SQL = Path(__file__).parent / "questions.sql"


class Simulation:
    """Predicts the activation of every token."""

    name = "simulation"
    role: RoleKind | None = "scorer"

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The strongest test windows of each explanation's feature, some drawn by hash, and some silent ones."""
        return batch.select(_SQL)

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """The values of each window, 0 to 10 per token; None for the window if any value is missing."""
        rows = questions.pl().to_dicts()
        windows = [_window(row, tools) for row in rows]
        request_of = structured_request if _form(rows, tools) == "structured" else blank_request
        requests = [request_of(tools, row["feature"], window) for row, window in zip(rows, windows, strict=True)]
        answers = tools.ask([_to_ask(tools, *pair) for pair in zip(requests, windows, strict=True)])
        for row, window, request in zip(rows, windows, requests, strict=True):
            yield _prediction(row, window, answers[request.request_id])

    def find_form(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> str | None:
        """`all_at_once` if the server supports it, else `structured`; None if no answer has to decide."""
        if _method(tools.config) != "auto" or tools.role.is_local:
            return None
        return _form_from_answer(questions.pl().to_dicts(), tools)


scorer = Simulation()


def check(config: Config) -> None:
    """Raise ConfigError if the provider does not support the method, or n_top exceeds the windows in examples."""
    own, n_held = settings_of(config.scoring, Simulation.name, Settings), config.sampling.top_examples
    if own.n_top > n_held:
        raise ConfigError(
            f"scoring.simulation.n_top is {own.n_top}, but examples hold only a feature's {n_held} strongest test "
            f"windows; set sampling.top_examples: {own.n_top}, or lower n_top"
        )
    method, provider = own.method, config.scoring.provider
    if method == "local" and provider == "openai":
        raise ConfigError(
            "scoring.simulation.method is local, but scoring.provider is openai; use all_at_once or structured, "
            "or auto to choose by what the server supports"
        )
    if method == "all_at_once" and provider == "local":
        raise ConfigError(
            "scoring.simulation.method is all_at_once, but scoring.provider is local; use local or auto"
        )


def _method(config: Config) -> str:
    return settings_of(config.scoring, Simulation.name, Settings).method


def _form(rows: Sequence[Mapping[str, Any]], tools: Tools) -> str | None:
    """The method: the config's, else the pilot's, else the one determined by the first answer.

    Raises ConfigError if the config needs log-probabilities of a prompt and the server returns none.
    """
    method = _method(tools.config)
    if method in {"structured", "local"} or tools.role.is_local:
        return method
    if method == "auto" and (found := piloted(Simulation.name, tools).form):
        return found
    form = _form_from_answer(rows, tools)
    if form == "structured" and method == "all_at_once":
        raise ConfigError(
            f"scoring.simulation.method is all_at_once, but for model '{tools.role.model}' the server returns no "
            "log-probabilities of a prompt from which numbers from 0 to 10 can be read; set it to structured"
        )
    return form


def _form_from_answer(rows: Sequence[Mapping[str, Any]], tools: Tools) -> str | None:
    """The method determined by the answer about the first window; None without a window, or if the request failed.

    If the server is known to return no log-probabilities of a prompt, nothing is sent.
    """
    if not rows:
        return None
    window = _window(rows[0], tools)
    first = blank_request(tools, rows[0]["feature"], window)
    answer = tools.ask([_to_ask(tools, first, window)])[first.request_id]
    if answer.status in FAILED:
        return None
    return "structured" if answer.is_unsent else "all_at_once"


def _window(row: Mapping[str, Any], tools: Tools) -> SimulatedWindow:
    return SimulatedWindow.of(row["explanation"], row["token_ids"], tools.vocabulary)


def _to_ask(tools: Tools, request: Request, window: SimulatedWindow) -> ToAsk:
    return ToAsk(
        request,
        lambda answer: values_of(answer, window) is not None,
        stand_in(request, window),
        renews=_method(tools.config) == "all_at_once",  # `auto` keeps its first finding
    )


def _prediction(row: Mapping[str, Any], window: SimulatedWindow, answer: Answer) -> Prediction:
    values = values_of(answer, window) if answer.status == "ok" else None
    return Prediction(
        explanation_id=row["explanation_id"],
        feature=row["feature"],
        question_id=row["question_id"],
        example_id=row["example_id"],
        status=status_of(answer, is_read=values is not None),
        request_id=answer.request_id,
        values=values,
        strata=row["strata"],
    )
