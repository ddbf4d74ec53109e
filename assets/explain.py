"""Selected features, by SAE and batch of feature ids: examples, explanations, and how well they predict.

The pilot of an SAE's scorers comes first.
"""

from typing import TYPE_CHECKING

from assets.graph.declare import asking_asset, sql_asset, table_asset

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published

examples = sql_asset("examples")
fuzzing_pairs = sql_asset("fuzzing_pairs")


@table_asset
def steered_texts(lake: "Lake", sae: str, batch: int) -> "Published":
    from pipeline.features.steered_texts import write_steered_texts

    return write_steered_texts(lake, sae, batch)


@table_asset
def token_changes(lake: "Lake", sae: str, batch: int) -> "Published":
    from pipeline.features.token_changes import write_token_changes

    return write_token_changes(lake, sae, batch)


@asking_asset
def explanations(lake: "Lake", sae: str, batch: int) -> "Published":
    from pipeline.explainers.write import write_explanations

    return write_explanations(lake, sae, batch)


@asking_asset
def scorer_rhos(lake: "Lake", sae: str) -> "Published":
    from pipeline.pilot.write import write_scorer_rhos

    return write_scorer_rhos(lake, sae)


@asking_asset
def predictions(lake: "Lake", sae: str, batch: int) -> "Published":
    from pipeline.scorers.write import write_predictions

    return write_predictions(lake, sae, batch)


scores = sql_asset("scores")
score_details = sql_asset("score_details")


@table_asset
def summary(lake: "Lake") -> "Published":
    from pipeline.summary import write_summary

    return write_summary(lake)


scorer_agreements = sql_asset("scorer_agreements")


@table_asset
def explainer_comparisons(lake: "Lake") -> "Published":
    from pipeline.summary import write_explainer_comparisons

    return write_explainer_comparisons(lake)
