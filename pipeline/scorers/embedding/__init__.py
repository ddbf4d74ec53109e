"""Embedding similarity: an explanation is good if activating windows are more similar to it than silent ones.

The cosine of the two embeddings ranks a feature's test windows, which gives an AUROC; it is not a yes-or-no
answer, so there is no accuracy. Words that an explanation quotes make any window with them similar, so compare the
AUROC with that against silent windows of kind `same_token` (`score_details`), which also contain the feature's
tokens.

The embeddings come from a model in this process or from a server (`provider: openai`), where each text is one
request, which the ledger answers from then on.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.asking.batches import ToAsk
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.config import Config, settings_of
from pipeline.errors import ConfigError
from pipeline.llm.vectors import embedding_request, unpacked
from pipeline.progress import progress
from pipeline.scorers.base import Prediction
from pipeline.scorers.embedding.embedder import check_embedder, load_embedder
from pipeline.scorers.embedding.settings import Settings

_SQL = Path(__file__).parent / "questions.sql"


class _Embedded(NamedTuple):
    """A text's unit vector, float32 [width], or None; the status of its answer, and its request."""

    vector: NDArray[np.float32] | None
    status: str = "ok"
    request_id: str | None = None


class _Texts(NamedTuple):
    """The texts of a feature, each once: its windows, and explanations of it."""

    windows: Sequence[str]
    explanations: Sequence[str]


_Found = Mapping[tuple[int, str], _Embedded]
"""By feature and text."""


class Embedding:
    """Ranks windows by their similarity to the explanation."""

    name = "embedding"
    role: RoleKind | None = None

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """Every test window of each explanation's feature."""
        return batch.select(_SQL)

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """The cosine of explanation and window, -1 to 1, in place of a probability."""
        rows = questions.pl()
        windows = rows.select("example_id", "token_ids").unique("example_id", maintain_order=True)
        text_of = {
            example_id: tools.vocabulary.whole_text(token_ids) for example_id, token_ids in windows.iter_rows()
        }
        texts = {
            feature: _Texts(
                [*dict.fromkeys(text_of[each] for each in part["example_id"])],
                [*dict.fromkeys(part["explanation"])],
            )
            for (feature,), part in rows.group_by("feature", maintain_order=True)
        }
        embed = _embedded_by_server if _settings(tools.config).asks_role else _embedded_here
        found = embed(texts, tools)
        asked = rows.select("explanation_id", "feature", "question_id", "example_id", "label")
        for question, words in zip(asked.iter_rows(named=True), rows["explanation"], strict=True):
            feature = question["feature"]
            window, explanation = found[feature, text_of[question["example_id"]]], found[feature, words]
            cosine, answered = None, explanation if explanation.vector is None else window
            if window.vector is not None and explanation.vector is not None:
                cosine = float(np.dot(window.vector, explanation.vector))
            yield Prediction(
                **question, probability=cosine, status=answered.status, request_id=answered.request_id
            )


scorer = Embedding()


def check(config: Config) -> None:
    """Raise SubjectError or ConfigError if the embedding model is missing or unsuitable."""
    own = _settings(config)
    if own.asks_role is None:
        check_embedder(config, own.model)
    elif own.model.startswith("package:"):
        raise ConfigError(
            f"scoring.embedding.provider is openai, but its model '{own.model}' runs in this process only; set "
            "scoring.embedding.model to a model name on the server of endpoints.embedder"
        )


def _settings(config: Config) -> Settings:
    return settings_of(config.scoring, Embedding.name, Settings)


def _embedded_here(texts: Mapping[int, _Texts], tools: Tools) -> _Found:
    """The vectors of texts, by feature, from a model in this process.

    Texts that share a pass affect each other's last digits. So a feature's windows are embedded together and each
    explanation alone: no row depends on other features or explanations.
    """
    model = load_embedder(tools.config, _settings(tools.config).model)
    found: dict[tuple[int, str], _Embedded] = {}
    with progress(len(texts), f"embeddings of {tools.batch.sae}", "features") as bar:
        for feature, own in texts.items():
            for together in (own.windows, *([words] for words in own.explanations)):
                vectors = model.embed(together).numpy()
                for text, vector in zip(together, vectors, strict=True):
                    found[feature, text] = _Embedded(vector)
            bar.update(1)
    return found


def _embedded_by_server(texts: Mapping[int, _Texts], tools: Tools) -> _Found:
    """The vectors of texts, by feature, from the server of the role `embedder`.

    Each text is requested once; the ledger records the last feature that it belongs to.

    Raises ConfigError if the vectors differ in width.
    """
    embedder = tools.in_role("embedder")
    feature_of = {text: feature for feature, own in texts.items() for text in (*own.windows, *own.explanations)}
    requests = {
        text: embedding_request(tools.batch.sae, feature, embedder.role.model, text)
        for text, feature in feature_of.items()
    }
    answers = embedder.ask(
        [
            ToAsk(request, lambda answer: unpacked(answer.text or "") is not None, stand_in="")
            for request in requests.values()
        ]
    )
    found = {}
    for text, request in requests.items():
        answer = answers[request.request_id]
        vector = unpacked(answer.text or "") if answer.status == "ok" else None
        status = "unparsed" if answer.status == "ok" and vector is None else answer.status
        found[text] = _Embedded(vector, status, answer.request_id)
    _check_widths(embedder.role.model, [each.vector for each in found.values() if each.vector is not None])
    return {
        (feature, text): found[text]
        for feature, own in texts.items()
        for text in (*own.windows, *own.explanations)
    }


def _check_widths(model: str, vectors: Sequence[NDArray[np.float32]]) -> None:
    widths = sorted({len(vector) for vector in vectors})
    if len(widths) > 1:
        raise ConfigError(
            f"embedding model '{model}' gave vectors of {' and '.join(f'{width:,}' for width in widths)} numbers, "
            "which cannot be compared: the server now serves a different model under this name; restore the "
            "earlier model, or set scoring.embedding.model to a name of its own"
        )
