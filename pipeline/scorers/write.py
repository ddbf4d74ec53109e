"""The table `predictions`: every scorer of the config judges a batch's explanations, question by question."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from pipeline.asking.batches import Ask, BatchAsker
from pipeline.asking.roles import RoleName, role_of
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.write import write_batch
from pipeline.firings.texts import ReadTexts, text_activations
from pipeline.lake import Lake, Published
from pipeline.plugins import find_plugin
from pipeline.scorers.base import Prediction, Scorer, prediction_rows
from pipeline.tables import TABLES

_ORDER = [(key, "ascending") for key in ("feature", "explanation_id", "scorer", "question_id")]

EMBEDDING_LEDGER = "embeddings"
"""The ledger of the texts whose vectors a server gave."""


def write_predictions(lake: Lake, sae: str, batch: int) -> Published:
    """Put the questions of a batch; figures and errors as `write_batch` has them."""
    rows = partial(_whole_table, scorers=lake.config.scoring.scorers)
    if not lake.config.scoring.embedder:
        return write_batch(lake, "predictions", "scorer", sae, batch, rows)
    with BatchAsker(lake, EMBEDDING_LEDGER, role_of(lake.config, "embedder"), sae, batch) as embedder:
        rows = partial(rows, asks={"embedder": embedder.ask})
        published = write_batch(lake, "predictions", "scorer", sae, batch, rows)
    embedding = {f"embedding_{name}": figure for name, figure in embedder.figures.items()}
    return replace(published, figures={**published.figures, **embedding})


def _whole_table(
    batch: Batch, ask: Ask, scorers: Sequence[str], asks: Mapping[RoleName, Ask] | None = None
) -> pa.Table:
    """The rows of `predictions`; an explanation that no scorer asks about has a row `not_asked` of each.

    The intruder asks about the empty explanation alone, and where windows lack there is no question: these rows
    say that the scorers have been there.
    """
    made = predictions_table(batch, ask, scorers, asks=asks)
    asked = set(made["explanation_id"].to_pylist())
    asks_model = all(load_scorer(name).role is not None for name in scorers)
    batch.create("scored_explanations", asks_model=asks_model)
    scored = batch.connection.table("scored_explanations").select("explanation_id", "feature").fetchall()
    left = [
        Prediction(explanation_id, feature, explanation_id, None, None, None, None, None, "not_asked", None)
        for explanation_id, feature in scored
        if explanation_id not in asked
    ]
    parts = [made, *(prediction_rows(batch.sae, name, left) for name in scorers)]
    return pa.concat_tables(parts).sort_by(_ORDER)


def predictions_table(
    batch: Batch,
    ask: Ask,
    scorers: Sequence[str],
    read: ReadTexts = text_activations,
    asks: Mapping[RoleName, Ask] | None = None,
) -> pa.Table:
    """The rows of `predictions` by some scorers, for the explanations that a batch's tables hold.

    `asks` asks in other roles than the scorer's, where one of them does.
    """
    tools = Tools(batch, role_of(batch.lake.config, "scorer"), ask, read, asks or {})
    batch.create("batch_features")
    parts = [TABLES["predictions"].schema.empty_table()]
    for name in scorers:
        scorer = load_scorer(name)
        batch.create("scored_explanations", asks_model=scorer.role is not None)
        predictions = scorer.predict(scorer.questions(batch), tools)
        parts.append(prediction_rows(batch.sae, name, list(predictions)))
    return pa.concat_tables(parts).sort_by(_ORDER)


def load_scorer(name: str) -> Scorer:
    """The scorer of that name. Raises ConfigError if there is none."""
    scorer: Scorer = find_plugin("scorers", name).load().scorer
    return scorer
