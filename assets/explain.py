"""Selected features, by SAE and batch of feature ids: examples, explanations, and how well they predict."""

from typing import TYPE_CHECKING

from assets.graph.declare import table_asset

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published


@table_asset(group="explain_and_score", by="batch")
def examples(lake: "Lake", sae: str, batch: int) -> "Published":
    """One row per window that an LLM may read: a slot with its tokens and the feature's activation on each."""
    from pipeline.make_table import write_batch_table

    return write_batch_table(lake, "examples", sae, batch)


@table_asset(group="explain_and_score", by="batch")
def fuzzing_pairs(lake: "Lake", sae: str, batch: int) -> "Published":
    """One row per activating test window that fuzzing may mark, with the window marked wrongly alike."""
    from pipeline.scorers.write import write_fuzzing_pairs

    return write_fuzzing_pairs(lake, sae, batch)


@table_asset(group="explain_and_score", by="batch", pool="llm")
def explanations(lake: "Lake", sae: str, batch: int) -> "Published":
    """One row per feature, explainer and draw."""
    from pipeline.explainers.write import write_explanations

    return write_explanations(lake, sae, batch)


@table_asset(group="explain_and_score", by="batch", pool="llm")
def predictions(lake: "Lake", sae: str, batch: int) -> "Published":
    """One row per question put to a scorer."""
    from pipeline.scorers.write import write_predictions

    return write_predictions(lake, sae, batch)


@table_asset(group="explain_and_score", by="batch")
def scores(lake: "Lake", sae: str, batch: int) -> "Published":
    """One row per explanation, scorer and role."""
    from pipeline.make_table import write_batch_table

    return write_batch_table(lake, "scores", sae, batch)


@table_asset(group="explain_and_score", by="batch")
def score_details(lake: "Lake", sae: str, batch: int) -> "Published":
    """One row per explanation, scorer, role, metric, stratum and weighting."""
    from pipeline.make_table import write_batch_table

    return write_batch_table(lake, "score_details", sae, batch)


@table_asset(group="explain_and_score")
def summary(lake: "Lake") -> "Published":
    """One row per SAE, route, explainer and scorer."""
    from pipeline.summary import write_summary

    return write_summary(lake)
