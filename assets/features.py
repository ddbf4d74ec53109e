"""All features of one SAE at once: firings sorted, statistics, rules, routes and candidate examples."""

from typing import TYPE_CHECKING

from assets.graph.declare import sql_asset, table_asset

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published


@table_asset
def activations(lake: "Lake", sae: str) -> "Published":
    from pipeline.firings.store import write_activations

    return write_activations(lake, sae)


feature_tokens = sql_asset("feature_tokens")
feature_stats = sql_asset("feature_stats")


@table_asset
def scrambled_contexts(lake: "Lake", sae: str) -> "Published":
    from pipeline.features.scrambled_contexts import write_scrambled_contexts

    return write_scrambled_contexts(lake, sae)


context_independence = sql_asset("context_independence")
feature_rules = sql_asset("feature_rules")
rule_scores = sql_asset("rule_scores")
feature_routes = sql_asset("feature_routes")


@table_asset
def selected_features(lake: "Lake", sae: str) -> "Published":
    from pipeline.features.selection import write_selected_features

    return write_selected_features(lake, sae)


@table_asset
def feature_logits(lake: "Lake", sae: str) -> "Published":
    from pipeline.features.logits import write_feature_logits

    return write_feature_logits(lake, sae)


@table_asset
def feature_neighbours(lake: "Lake", sae: str) -> "Published":
    from pipeline.features.neighbours import write_feature_neighbours

    return write_feature_neighbours(lake, sae)


@table_asset
def feature_cofirings(lake: "Lake", sae: str) -> "Published":
    from pipeline.features.cofirings import write_feature_cofirings

    return write_feature_cofirings(lake, sae)


example_index = sql_asset("example_index")


@table_asset
def estimate(lake: "Lake", sae: str) -> "Published":
    from pipeline.estimate import write_estimate

    return write_estimate(lake, sae)
