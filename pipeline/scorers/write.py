"""Makes the table `predictions`: all scorers of the config judge a batch's explanations, question by question."""

from collections.abc import Mapping, Sequence
from functools import partial

import pyarrow as pa

from pipeline.asking.batches import Asks, Ledgers, ToAsk
from pipeline.asking.roles import role_of, scorer_role, scorer_roles
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.write import write_batch
from pipeline.config import Config
from pipeline.firings.texts import ReadTexts, text_activations
from pipeline.lake import Lake, Published
from pipeline.llm import Answer
from pipeline.plugins import find_plugin
from pipeline.scorers.base import FindsForm, Prediction, Scorer, prediction_rows
from pipeline.tables import TABLES

_ORDER = [(key, "ascending") for key in ("feature", "explanation_id", "scorer", "question_id")]


def write_predictions(lake: Lake, sae: str, batch: int) -> Published:
    """Score the explanations of a batch; figures and errors as in `write_batch`."""
    rows = partial(_whole_table, scorers=lake.config.scoring.scorers)
    return write_batch(lake, "predictions", scoring_ledgers(lake.config), sae, batch, rows)


def scoring_ledgers(config: Config) -> Ledgers:
    """The roles asked for predictions: every model that scores, and the embedder if it is on a server."""
    ledgers: Ledgers = {"predictions": scorer_roles(config)}
    return {**ledgers, "embeddings": ("embedder",)} if config.scoring.embedder else ledgers


def _whole_table(batch: Batch, asks: Asks, scorers: Sequence[str]) -> pa.Table:
    """The rows of `predictions`; an explanation that no scorer asks about gets a `not_asked` row from each.

    Intruder asks only about the empty explanation, and without enough windows there are no questions; these rows
    mark such explanations as done.
    """
    made = predictions_table(batch, asks, scorers)
    asked = set(made["explanation_id"].to_pylist())
    # All that any of them judges: scoring.max_features does not limit scorers that ask no model.
    batch.create("scored_explanations", asks_model=all(load_scorer(name).role for name in scorers))
    scored = batch.connection.table("scored_explanations").select("explanation_id", "feature").fetchall()
    left = [Prediction.not_asked(*each) for each in scored if each[0] not in asked]
    parts = [made, *(prediction_rows(batch.sae, name, left) for name in scorers)]
    return pa.concat_tables(parts).sort_by(_ORDER)


def predictions_table(
    batch: Batch, asks: Asks, scorers: Sequence[str], read: ReadTexts = text_activations
) -> pa.Table:
    """The rows of `predictions` from some scorers, for the explanations in a batch's tables."""
    parts = [TABLES["predictions"].schema.empty_table()]
    for name in scorers:
        scorer = load_scorer(name)
        batch.create("scored_explanations", asks_model=scorer.role is not None)
        predictions = scorer.predict(scorer.questions(batch), tools_of(name, batch, asks, read))
        parts.append(prediction_rows(batch.sae, name, list(predictions)))
    return pa.concat_tables(parts).sort_by(_ORDER)


def find_forms(batch: Batch, asks: Asks, scorers: Sequence[str]) -> dict[str, str]:
    """The prompt form of each scorer that determines it from a first answer and got one, by name."""
    batch.create("scored_explanations", asks_model=True)
    forms = {}
    for name in scorers:
        scorer = load_scorer(name)
        if isinstance(scorer, FindsForm):
            forms[name] = scorer.find_form(scorer.questions(batch), tools_of(name, batch, asks))
    return {name: form for name, form in forms.items() if form is not None}


def tools_of(name: str, batch: Batch, asks: Asks, read: ReadTexts = text_activations) -> Tools:
    """The tools of the scorer with this name: its model, asked with the full name as purpose."""
    role = role_of(batch.lake.config, scorer_role(name))

    def ask(to_ask: Sequence[ToAsk]) -> Mapping[str, Answer]:
        return asks[role.name](
            [each.of(each.request.purpose + role.suffix, is_certain=each.is_certain) for each in to_ask]
        )

    return Tools(batch, role, ask if role.suffix else asks[role.name], read, asks)


def load_scorer(name: str) -> Scorer:
    """The scorer with a name. Raises ConfigError if there is none."""
    scorer: Scorer = find_plugin("scorers", name).load().scorer
    return scorer
