"""The table `predictions`: every scorer of the config judges a batch's explanations, question by question."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.asking.batches import Ask, BatchAsker
from pipeline.asking.roles import role_of
from pipeline.asking.tools import Batch, Tools
from pipeline.lake import Lake, Published
from pipeline.plugins import find_plugin
from pipeline.scorers.base import Scorer, prediction_rows
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES


def write_predictions(lake: Lake, sae: str, batch: int) -> Published:
    """Put the questions of a batch; figures: predictions by status, requests sent and replayed, tokens.

    Raises:
        LakeError: An input is missing, or another run is at work on the batch.
        ConfigError: The endpoint cannot be used as the config says.
    """
    lake.require(*STAGES["predictions"].inputs, sae=sae, batch=batch)
    role = role_of(lake.config, "scorer")
    names = lake.config.scoring.scorers
    with BatchAsker(lake, "predictions", role, sae, batch) as asker, lake.connect(sae, batch) as connection:
        table = predictions_table(Batch(lake, connection, sae, batch), asker.ask, names)
    parts = {name: table.filter(pc.equal(table["scorer"], name)) for name in names}
    published = lake.write_parts("predictions", parts, sae=sae, batch=batch)
    by_status: dict[str, float | int | str] = dict(pl.DataFrame(table)["status"].value_counts().iter_rows())
    return replace(published, figures={**by_status, **asker.figures})


def predictions_table(batch: Batch, ask: Ask, scorers: Sequence[str]) -> pa.Table:
    """The rows of `predictions` by some scorers, for the explanations that a batch's tables hold."""
    tools = Tools(batch, role_of(batch.lake.config, "scorer"), ask)
    batch.create("batch_features")
    parts = [TABLES["predictions"].schema.empty_table()]
    for name in scorers:
        scorer = load_scorer(name)
        batch.create("scored_explanations", asks_model=scorer.role is not None)
        predictions = scorer.predict(scorer.questions(batch), tools)
        parts.append(prediction_rows(batch.sae, name, list(predictions)))
    keys = ("feature", "explanation_id", "scorer", "question_id")
    return pa.concat_tables(parts).sort_by([(key, "ascending") for key in keys])


def load_scorer(name: str) -> Scorer:
    """The scorer of that name. Raises ConfigError if there is none."""
    scorer: Scorer = find_plugin("scorers", name).load().scorer
    return scorer
