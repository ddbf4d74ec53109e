"""Surprisal (Paulo et al. 2024): an explanation is good if it makes activating windows less surprising to a model.

The gain of a window is its mean loss (nats per token) after an uninformative description, minus its mean loss
after the explanation. The gain ranks a feature's test windows, activating against silent ones, which gives an
AUROC; it is not a yes-or-no answer. The model is a base model in this process, because chat servers do not return
losses of a text. The text before the windows is read once per explanation, and each window once after the
uninformative one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import polars as pl

from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.windows import one_line
from pipeline.config import Config, SubjectConfig, settings_of
from pipeline.errors import ConfigError
from pipeline.llm.local.model import LocalModel, load_local_model
from pipeline.models.load import find_files
from pipeline.progress import progress
from pipeline.scorers.base import Prediction
from pipeline.scorers.surprisal.settings import Settings

_FOLDER = Path(__file__).parent
_SUBJECT, _SCORER = "subject", "scorer"


class Surprisal:
    """Ranks windows by how much the explanation lowers the loss on them."""

    name = "surprisal"
    role: RoleKind | None = None

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The test windows of each explanation's feature that other scorers also ask about."""
        return batch.select(_FOLDER / "questions.sql")

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """The gain of each window, in nats per token, in place of a probability."""
        rows = questions.pl()
        if rows.is_empty():
            return
        model = load_local_model(_model(tools.config), tools.config.device)
        n_explanations = rows["explanation_id"].n_unique()
        with progress(n_explanations, f"surprisal of {tools.batch.sae}", "explanations") as bar:
            # Only windows of one feature share a pass, so that rows do not depend on the batch's other features.
            for feature in rows.partition_by("feature", maintain_order=True):
                texts = _texts(model, feature, tools)
                plain = dict(zip(texts, _losses(model, _nothing(), [*texts.values()]), strict=True))
                for part in feature.partition_by("explanation_id", maintain_order=True):
                    yield from _predictions(model, part, texts, plain)
                    bar.update(1)


scorer = Surprisal()


def check(config: Config) -> None:
    """Raise ConfigError if a server would have to return losses, SubjectError if the model does not exist."""
    if _own(config) == _SCORER and config.scoring.provider != "local":
        raise ConfigError(
            f"scoring.surprisal.model is scorer, but scoring.provider is {config.scoring.provider}, which does "
            "not return losses of a text; set the model to subject, or name a model that runs in this process"
        )
    find_files(_model(config))


def _own(config: Config) -> str:
    return settings_of(config.scoring, Surprisal.name, Settings).model


def _model(config: Config) -> SubjectConfig:
    """The model whose losses are used."""
    match _own(config):
        case "subject":
            return config.subject
        case "scorer":
            return config.in_process(config.scoring)
        case name:
            return config.model_named(name)


def _nothing() -> str:
    return load_prompt(_FOLDER / "nothing.txt").text


def _texts(model: LocalModel, rows: pl.DataFrame, tools: Tools) -> dict[str, list[int]]:
    """The token ids of a feature's windows for the model, by example_id."""
    windows = rows.select("example_id", "token_ids").unique("example_id", maintain_order=True)
    if _own(tools.config) == _SUBJECT:
        return {example_id: list(token_ids) for example_id, token_ids in windows.iter_rows()}
    return {
        example_id: model.tokens(tools.vocabulary.whole_text(token_ids))
        for example_id, token_ids in windows.iter_rows()
    }


def _losses(model: LocalModel, explanation: str, windows: Sequence[Sequence[int]]) -> list[float]:
    """The mean loss of each window after an explanation, which is read once."""
    text = load_prompt(_FOLDER / "prefix.txt").render(explanation=one_line(explanation)) + "\n"
    ids: list[int] = model.tokenizer(text).input_ids
    return model.losses(model.read_prefix(ids[:-1]), [[ids[-1], *window] for window in windows])


def _predictions(
    model: LocalModel, part: pl.DataFrame, texts: dict[str, list[int]], plain: dict[str, float]
) -> Iterator[Prediction]:
    explained = _losses(model, part["explanation"][0], [texts[example_id] for example_id in part["example_id"]])
    rows = part.select("explanation_id", "feature", "question_id", "example_id", "label")
    for row, loss in zip(rows.iter_rows(named=True), explained, strict=True):
        gain = plain[row["example_id"]] - loss
        yield Prediction(**row, probability=gain, status="ok")
