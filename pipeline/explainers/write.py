"""Makes the table `explanations`: all explainers of the config explain a batch, and some features get controls."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.asking.batches import Asks, Ledgers
from pipeline.asking.roles import role_of
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.write import write_batch
from pipeline.config import Config
from pipeline.explainers.base import Explainer, Explanation, Feature, Shown
from pipeline.explainers.controls import Own, controls
from pipeline.lake import Lake, Published
from pipeline.plugins import find_plugin
from pipeline.tables import TABLES
from pipeline.tables.explanations import explanation_id

Row = dict[str, Any]


def write_explanations(lake: Lake, sae: str, batch: int) -> Published:
    """Explain the selected features of a batch; figures and errors as in `write_batch`."""
    return write_batch(lake, "explanations", explaining_ledgers(lake.config), sae, batch, explanations_table)


def explaining_ledgers(config: Config) -> Ledgers:
    """The roles asked for explanations: the explainer, and the scorer if it judges an explainer's drafts."""
    ledgers: Ledgers = {"explanations": ("explainer",)}
    return {**ledgers, "judging": ("scorer",)} if config.explaining.n_judging else ledgers


def explanations_table(batch: Batch, asks: Asks) -> pa.Table:
    """The rows of `explanations` for the selected features of a batch."""
    config = batch.lake.config
    tools = Tools(batch, role_of(config, "explainer"), asks["explainer"], asks=asks)
    selected = batch.select("explained_features").pl()
    generations = [each for each in selected["generation"].unique() if each is not None]
    [generation] = generations or [batch.lake.generation]
    ranks = dict(selected.select("feature", "place").iter_rows())
    rows: list[Row] = []
    for name in config.explaining.explainers:
        explainer = load_explainer(name)
        features = read_features(batch, selected, name)
        its = [each for each in features if each.is_asked or explainer.role is None]
        rows += [explanation_row(batch.sae, name, explanation) for explanation in explainer.explain(its, tools)]
    written = pa.Table.from_pylist(rows, TABLES["explanations"].schema)
    batch.put("own_explanations", written.append_column("number", pa.array(range(len(rows)), pa.int64())))
    own = {feature: Own(*rest) for feature, *rest in batch.select("lent_explanations").fetchall()}
    controlled = selected.filter("is_control").sort("place")["feature"].to_list()
    near = set(batch.select("batch_neighbours").fetchall())
    rows += [explanation_row(batch.sae, *control) for control in controls(controlled, own, near)]
    # A feature no explainer covers gets a `not_asked` row, which marks it as done.
    has_row = {row["feature"] for row in rows}
    left = [feature for feature in selected["feature"].to_list() if feature not in has_row]
    first = config.explaining.explainers[0]
    rows += [explanation_row(batch.sae, first, Explanation(feature, None, "not_asked")) for feature in left]
    rows = [{**row, "place": ranks[row["feature"]], "generation": generation} for row in rows]
    rows.sort(key=lambda row: (row["feature"], row["explainer"], row["draw"]))
    return pa.Table.from_pylist(rows, TABLES["explanations"].schema)


def load_explainer(name: str) -> Explainer:
    """The explainer with a name. Raises ConfigError if there is none."""
    explainer: Explainer = find_plugin("explainers", name).load().explainer
    return explainer


def read_features(batch: Batch, selected: pl.DataFrame, explainer: str) -> Iterator[Feature]:
    """The features in rows of `explained_features`, with the windows that an explainer is shown."""
    explaining = batch.lake.config.explaining
    own = explaining.seen_by(explainer)
    n_silent = explaining.n_silent_of(explainer)
    windows = batch.select("shown_examples", sampling=own.sampling, n_shown=own.n_examples, n_silent=n_silent).pl()
    shown: dict[tuple[int, bool], list[Shown]] = {}
    for row in windows.iter_rows(named=True):
        window = Shown(row["example_id"], row["token_ids"], row["activations"])
        shown.setdefault((row["feature"], row["is_active"]), []).append(window)
    for row in selected.iter_rows(named=True):
        feature = row["feature"]
        yield Feature(
            feature=feature,
            route=row["route"],
            rule=row["rule"],
            is_asked=row["is_asked"],
            shown=shown.get((feature, True), []),
            silent=shown.get((feature, False), []),
            promoted=_token_ids(row["promoted"]),
            suppressed=_token_ids(row["suppressed"]),
        )


def _token_ids(logits: Sequence[Row] | None) -> Sequence[int] | None:
    return None if logits is None else [each["token_id"] for each in logits]


def explanation_row(sae: str, explainer: str, explanation: Explanation) -> Row:
    """An explanation as a row of the table, without its rank and generation."""
    key = explanation_id(sae, explanation.feature, explainer, explanation.draw)
    own = {"explanation_id": key, "sae": sae, "explainer": explainer, "explanation": explanation.words}
    return {**explanation._asdict(), **own}
