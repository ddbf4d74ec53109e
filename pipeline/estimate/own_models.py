"""Times scorers that send no requests, by running them on a few features."""

import time
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from pipeline.asking.batches import Asks, ToAsk
from pipeline.asking.roles import scorer_roles
from pipeline.config import Config
from pipeline.lake import Lake
from pipeline.llm import Answer
from pipeline.pilot.unwritten import unwritten_batch
from pipeline.plugins import Declared, find_plugin
from pipeline.scorers.write import load_scorer, tools_of

_ENOUGH_SECONDS = 2.0
"""A shorter trial is repeated with three times as many features: with few texts, each takes up to three times as
long as with many, where texts of similar length share a pass."""


def asks_nobody(config: Config, name: str) -> bool:
    """Whether a scorer of the config works in this process, without sending requests."""
    settings = getattr(config.scoring, find_plugin("scorers", name).name)
    return load_scorer(name).role is None and Declared.by(settings).asks_role is None


def own_seconds(
    lake: Lake, sae: str, batch: int, made: Mapping[str, pa.Table], name: str, rates: dict[str, float]
) -> float:
    """Seconds that such a scorer takes for a batch with these tables, and again for features of the pilot.

    `rates` holds the seconds per feature that were measured on an earlier batch, by scorer, and is added to.
    """
    with unwritten_batch(lake, sae, batch, made) as own:
        own.create("scored_explanations", asks_model=False)
        own.put("own_questions", load_scorer(name).questions(own).to_arrow_table())
        questions = own.connection.table("own_questions")
        tools = tools_of(name, own, _nobody(lake.config))
        features = [feature for (feature,) in questions.aggregate("feature").order("feature").fetchall()]
        if not features:
            return 0.0

        def took(n_features: int) -> float:
            some = duckdb.ColumnExpression("feature").isin(*map(duckdb.ConstantExpression, features[:n_features]))
            started = time.monotonic()
            for _ in load_scorer(name).predict(questions.filter(some), tools):
                pass
            return time.monotonic() - started

        if name in rates:
            seconds = rates[name] * len(features)
        else:
            took(1)  # loads the model
            n_tried, seconds = 1, took(1)
            a_feature = seconds
            while seconds < _ENOUGH_SECONDS and n_tried < len(features):
                n_before, seconds_before = n_tried, seconds
                n_tried = min(3 * n_tried, len(features))
                seconds = took(n_tried)
                a_feature = max(seconds - seconds_before, 0.0) / (n_tried - n_before)
            if seconds >= _ENOUGH_SECONDS:
                rates[name] = seconds / n_tried
            seconds += a_feature * (len(features) - n_tried)
    n_pilot = 0 if lake.has("scorer_rhos", sae=sae) else min(lake.config.scoring.pilot_features, len(features))
    return seconds * (1 + n_pilot / len(features))


def _nobody(config: Config) -> Asks:
    """Functions for all roles that fail if they are called."""

    def ask(_to_ask: Sequence[ToAsk]) -> Mapping[str, Answer]:
        raise AssertionError("a scorer without a role sent a request")

    return dict.fromkeys(scorer_roles(config), ask)
