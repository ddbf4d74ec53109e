"""The table `explanations`: every explainer of the config explains a batch, and some features get controls."""

import hashlib
from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from pipeline.asking.batches import Ask
from pipeline.asking.roles import role_of
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.write import write_batch
from pipeline.explainers.base import Explainer, Explanation, Feature, Shown
from pipeline.explainers.controls import controls
from pipeline.lake import Lake, Published
from pipeline.plugins import find_plugin
from pipeline.tables import TABLES

Row = dict[str, object]


def write_explanations(lake: Lake, sae: str, batch: int) -> Published:
    """Explain the selected features of a batch; figures and errors as `write_batch` has them."""
    return write_batch(lake, "explanations", "explainer", sae, batch, explanations_table)


def explanations_table(batch: Batch, ask: Ask) -> pa.Table:
    """The rows of `explanations` for the features that a batch's tables select."""
    config = batch.lake.config
    tools = Tools(batch, role_of(config, "explainer"), ask)
    batch.create("batch_features")
    selected = batch.select("explained_features").pl()
    features = list(read_features(batch, selected))
    rows: list[Row] = []
    own: dict[int, str | None] = {}
    for name in config.explaining.explainers:
        explainer = load_explainer(name)
        its = [each for each in features if each.is_asked or explainer.role is None]
        for explanation in explainer.explain(its, tools):
            rows.append(_row(batch.sae, name, explanation))
            own.setdefault(explanation.feature, explanation.words)  # of the first that was to explain it
    controlled = selected.filter("is_control").sort("place")["feature"].to_list()
    rows += [_row(batch.sae, *control) for control in controls(controlled, own)]
    rows.sort(key=lambda row: (row["feature"], row["explainer"], row["draw"]))
    return pa.Table.from_pylist(rows, TABLES["explanations"].schema)


def load_explainer(name: str) -> Explainer:
    """The explainer of that name. Raises ConfigError if there is none."""
    explainer: Explainer = find_plugin("explainers", name).load().explainer
    return explainer


def explanation_id(sae: str, feature: int, explainer: str, draw: int = 0) -> str:
    """The id of an explanation, 32 hex digits."""
    return hashlib.sha256(f"{sae} {feature} {explainer} {draw}".encode()).hexdigest()[:32]


def read_features(batch: Batch, selected: pl.DataFrame) -> Iterator[Feature]:
    """The features of the rows of `explained_features`, with the windows that an explainer is shown."""
    shown: dict[int, list[Shown]] = {}
    windows = batch.select("shown_examples").pl()
    for feature, *window in windows.select("feature", "example_id", "token_ids", "activations").iter_rows():
        shown.setdefault(feature, []).append(Shown(*window))
    for feature, route, rule, is_asked in selected.select("feature", "route", "rule", "is_asked").iter_rows():
        yield Feature(feature, route, rule, is_asked, shown.get(feature, []))


def _row(sae: str, explainer: str, explanation: Explanation) -> Row:
    return {
        "explanation_id": explanation_id(sae, explanation.feature, explainer, explanation.draw),
        "sae": sae,
        "feature": explanation.feature,
        "explainer": explainer,
        "draw": explanation.draw,
        "explanation": explanation.words,
        "example_ids": list(explanation.example_ids),
        "status": explanation.status,
        "request_id": explanation.request_id,
    }
