"""Embedding similarity: an explanation is good if windows that fire are more like it than windows that do not.

The cosine of the two embeddings ranks a feature's test windows, which gives an AUROC; it is no yes or no, so there
is no accuracy. Words that an explanation quotes make a window like it, so read the AUROC against the silent
windows of kind `same_token` beside it (`score_details`): they hold the feature's tokens as well.
"""

from collections.abc import Iterator

import duckdb

from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Batch, Tools
from pipeline.config import Config
from pipeline.plugins import find_plugin
from pipeline.scorers.base import Prediction
from pipeline.scorers.embedding.embedder import check_embedder, load_embedder

_SQL = find_plugin("scorers", "embedding").path / "questions.sql"


class Embedding:
    """Ranks windows by their likeness to the explanation."""

    name = "embedding"
    role: RoleName | None = None

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """Every test window of each explanation's feature."""
        return batch.select(_SQL)

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """The cosine of explanation and window, -1 to 1, in place of a probability; each text is read once."""
        rows = questions.pl()
        windows = rows.select("example_id", "token_ids").unique("example_id", maintain_order=True)
        texts = [tools.vocabulary.text(token_ids) for token_ids in windows["token_ids"]]
        words = rows["explanation"].unique(maintain_order=True).to_list()
        embedder = load_embedder(tools.config, _model(tools.config))
        vectors = embedder.embed([*texts, *words])
        window_at = {example_id: place for place, example_id in enumerate(windows["example_id"])}
        words_at = {each: len(texts) + place for place, each in enumerate(words)}
        ends = [window_at[each] for each in rows["example_id"]], [words_at[each] for each in rows["explanation"]]
        cosines = (vectors[ends[0]] * vectors[ends[1]]).sum(dim=1)
        asked = rows.select("explanation_id", "feature", "question_id", "example_id", "label")
        for question, cosine in zip(asked.iter_rows(named=True), cosines.tolist(), strict=True):
            yield Prediction(
                **question, marked=None, prediction=None, probability=cosine, status="ok", request_id=None
            )


scorer = Embedding()


def check(config: Config) -> None:
    """Raise SubjectError if the model of embeddings is not there, or is not the one that it should be."""
    check_embedder(config, _model(config))


def _model(config: Config) -> str:
    model: str = config.scoring.embedding.model  # type: ignore[attr-defined]  # a plug-in's section
    return model
