"""Selected features, by SAE and batch of feature ids: examples, explanations, and how well they predict."""

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


@asking_asset
def explanations(lake: "Lake", sae: str, batch: int) -> "Published":
    from pipeline.explainers.write import write_explanations

    return write_explanations(lake, sae, batch)


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
