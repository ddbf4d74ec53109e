"""Generation (Juang et al. 2024): the feature should fire in texts that are written from its explanation.

The scorer writes texts in which the feature should fire and near misses in which it should not; the subject model
and the SAE determine where it does. Recall, the post's measure, is the share of the former texts in which it
fires. AUROC ranks them against the near misses by their peaks (clarity, Puri et al. 2025, arXiv 2502.16994).
Position 0 of a text is ignored, as everywhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl

from pipeline.asking.batches import ToAsk
from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.windows import one_line
from pipeline.config import Config, ScoringConfig, settings_of
from pipeline.firings.texts import text_tokens
from pipeline.llm import Answer, Request
from pipeline.sae.load import check_weights
from pipeline.scorers.base import Prediction
from pipeline.scorers.generation.answers import read_written, same_words
from pipeline.scorers.generation.settings import Settings
from pipeline.scorers.requests import AnswerForm, scoring_request
from pipeline.scorers.values import object_schema

_FOLDER = Path(__file__).parent
_TOKENS_A_TEXT = 8
"""Tokens around each text of the answer: quotes, a comma, spaces, or a number."""
_TOKENS_AROUND = 64


class WrittenText(NamedTuple):
    """A text of an answer, and whether it can be judged.

    Attributes:
        text: The text; None if the answer lacks it.
        token_ids: Its tokens for the subject model; empty if it is not read.
        status: `ok`; `repeated` if it occurs earlier in the answer, in its own list also if only case, spacing or
            punctuation differ; `unparsed` if it is missing or too short; without a usable answer, the answer's
            status.
    """

    text: str | None
    token_ids: Sequence[int]
    status: str


class Generation:
    """Has texts written from an explanation, and checks where the feature fires in them."""

    name = "generation"
    role: RoleKind | None = "scorer"

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """A row for each text to be written."""
        return batch.select(_FOLDER / "questions.sql")

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """Ask for the texts of each explanation in one answer, and read each answer's texts in one forward pass.

        Explanations with the same words share an answer. Only the texts of one answer share a pass, so that no
        other explanation affects their activations.
        """
        config, sae = tools.config, tools.batch.sae
        by_explanation = questions.pl().partition_by("explanation_id", maintain_order=True)
        asked: dict[str, ToAsk] = {}
        rows_of: dict[str, list[pl.DataFrame]] = {}
        for rows in by_explanation:
            feature, words = rows["feature"][0], rows["explanation"][0]
            request = writing_request(config.scoring, sae, feature, words)
            asked.setdefault(request.request_id, ToAsk(request, is_usable(tools), stand_in(config.scoring)))
            rows_of.setdefault(request.request_id, []).append(rows)
        answers = tools.ask(list(asked.values()))
        for request_id, explanations in rows_of.items():
            yield from self._predictions(answers[request_id], explanations, tools)

    def _predictions(
        self, answer: Answer, explanations: Sequence[pl.DataFrame], tools: Tools
    ) -> Iterator[Prediction]:
        """Predictions for explanations that share an answer; each one's rows begin with texts that should fire."""
        texts = texts_of(answer, tools)
        read = [text.token_ids for text in texts if text.status == "ok"]
        features = {rows["feature"][0] for rows in explanations}
        found = tools.read(tools.batch.lake, tools.batch.sae, read, features) if read else {}
        for rows in explanations:
            activations = iter(found.get(rows["feature"][0], []))
            for row, text in zip(rows.iter_rows(named=True), texts, strict=True):
                yield _prediction(row, text, next(activations).tolist() if text.status == "ok" else None, answer)


scorer = Generation()


def check(config: Config) -> None:
    """Raise SaeError if an SAE's weights are not available; they are needed to find activations in new texts."""
    check_weights(config, scorer.name)


def _prediction(
    row: Mapping[str, Any], text: WrittenText, activations: Sequence[float] | None, answer: Answer
) -> Prediction:
    """A text's prediction; `activations` are the feature's on its tokens, None if it was not read."""
    peak = None if activations is None else max(activations[1:])
    return Prediction(
        explanation_id=row["explanation_id"],
        feature=row["feature"],
        question_id=row["question_id"],
        label=row["label"],
        prediction=None if peak is None else peak > 0,
        probability=peak,
        status=text.status,
        request_id=answer.request_id,
        values=activations,
        text=text.text,
        token_ids=text.token_ids if text.status == "ok" else None,
        decile=decile_of(peak, row["deciles"]) if peak else None,
    )


def decile_of(peak: float, deciles: Sequence[Mapping[str, float]] | None) -> int | None:
    """The highest train decile whose lowest peak is at most this peak; else the lowest decile."""
    if not deciles:
        return None
    return int(max([each["decile"] for each in deciles if each["lowest"] <= peak], default=deciles[0]["decile"]))


def texts_of(answer: Answer, tools: Tools) -> list[WrittenText]:
    """An answer's n texts that should fire, then its n near misses; missing ones have another status than `ok`."""
    n = _settings(tools.config.scoring).n_texts
    if answer.status != "ok":
        return [WrittenText(None, (), answer.status)] * (2 * n)
    written = read_written(answer.text)
    known: set[tuple[int | None, str]] = set()
    texts = []
    for number, some in enumerate(written or ((), ())):
        listed = list(some[:n])
        for text in [*listed, *[None] * (n - len(listed))]:
            texts.append(_judged(text, number, known, tools))
    return texts


def _judged(text: str | None, list_number: int, known: set[tuple[int | None, str]], tools: Tools) -> WrittenText:
    """A text and whether it can be judged; it is added to `known`, as it is, and by its words in its own list."""
    token_ids = text_tokens(tools.batch.lake, text, _settings(tools.config.scoring).max_tokens) if text else []
    if text is None or not text.strip() or len(token_ids) < 2:
        return WrittenText(text, (), "unparsed")
    own = {(None, text.strip()), (list_number, same_words(text))}
    if own & known:
        return WrittenText(text, (), "repeated")
    known |= own
    return WrittenText(text, token_ids, "ok")


def is_usable(tools: Tools) -> Callable[[Answer], bool]:
    """A function that returns whether enough texts of an answer can be judged for a score (min_coverage)."""

    def check_texts(answer: Answer) -> bool:
        statuses = [text.status for text in texts_of(answer, tools)]
        return statuses.count("ok") >= tools.config.scoring.min_coverage * len(statuses)

    return check_texts


def writing_request(scoring: ScoringConfig, sae: str, feature: int, explanation: str) -> Request:
    """The request for texts in which the feature should fire, given an explanation, and for near misses."""
    own = _settings(scoring)
    user = load_prompt(_FOLDER / "user.txt").render(explanation=one_line(explanation), n=str(own.n_texts))
    texts = {"type": "array", "items": {"type": "string"}}
    form = AnswerForm(
        max_tokens=2 * own.n_texts * (own.max_tokens + _TOKENS_A_TEXT) + _TOKENS_AROUND,
        schema=object_schema({"active": texts, "near_misses": texts}),
    )
    system = load_prompt(_FOLDER / "system.txt").text
    return scoring_request(scoring, sae, feature, Generation.name, system, user, form)


def stand_in(scoring: ScoringConfig) -> str:
    """An answer of typical length: sentences of some twenty words."""
    n = _settings(scoring).n_texts
    sentence = "This is a text number {}, as long as most are, and it stands here in the place of another one."
    texts = [sentence.format(number) for number in range(1, 2 * n + 1)]
    listed = ['"' + '", "'.join(some) + '"' for some in (texts[:n], texts[n:])]
    return f'{{"active": [{listed[0]}], "near_misses": [{listed[1]}]}}'


def _settings(scoring: ScoringConfig) -> Settings:
    return settings_of(scoring, Generation.name, Settings)
