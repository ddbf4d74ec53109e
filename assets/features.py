"""All features of one SAE at once: firings sorted, statistics, rules, routes and candidate examples."""

from typing import TYPE_CHECKING

from assets.graph.declare import table_asset

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published


@table_asset(group="prepare", by="sae")
def activations(lake: "Lake", sae: str) -> "Published":
    """One row per firing of a feature on a token, sorted by (feature, token_index); one file a bucket."""
    from pipeline.firings.store import write_activations

    return write_activations(lake, sae)


@table_asset(group="prepare", by="sae")
def feature_tokens(lake: "Lake", sae: str) -> "Published":
    """One row per feature and token that it fires on in train documents (position 0 left out)."""
    from pipeline.features.selection import write_feature_table

    return write_feature_table(lake, "feature_tokens", sae)


@table_asset(group="prepare", by="sae")
def feature_stats(lake: "Lake", sae: str) -> "Published":
    """One row per feature of an SAE, every one: counts, quantiles and heuristics."""
    from pipeline.features.selection import write_feature_table

    return write_feature_table(lake, "feature_stats", sae)


@table_asset(group="prepare", by="sae")
def scrambled_contexts(lake: "Lake", sae: str) -> "Published":
    """One row per verified unigram candidate, token and place: does it fire on it among random tokens?"""
    from pipeline.features.scrambled_contexts import write_scrambled_contexts

    return write_scrambled_contexts(lake, sae)


@table_asset(group="prepare", by="sae")
def context_independence(lake: "Lake", sae: str) -> "Published":
    """One row per SAE and threshold: features that fire in at least that share of their scrambled contexts."""
    from pipeline.features.selection import write_feature_table

    return write_feature_table(lake, "context_independence", sae)


@table_asset(group="prepare", by="sae")
def feature_rules(lake: "Lake", sae: str) -> "Published":
    """One row per feature, kind, size limit and target: the token set of best F1 on train documents."""
    from pipeline.features.selection import write_feature_table

    return write_feature_table(lake, "feature_rules", sae)


@table_asset(group="prepare", by="sae")
def rule_scores(lake: "Lake", sae: str) -> "Published":
    """One row per feature with a chosen rule: how well the rule says, on every test token, where it fires."""
    from pipeline.features.selection import write_feature_table

    return write_feature_table(lake, "rule_scores", sae)


@table_asset(group="prepare", by="sae")
def feature_routes(lake: "Lake", sae: str) -> "Published":
    """One row per feature, every one, exactly once: where it goes and why."""
    from pipeline.features.selection import write_feature_table

    return write_feature_table(lake, "feature_routes", sae)


@table_asset(group="prepare", by="sae")
def selected_features(lake: "Lake", sae: str) -> "Published":
    """One row per feature that is wanted explained."""
    from pipeline.features.selection import write_selected_features

    return write_selected_features(lake, sae)


@table_asset(group="prepare", by="sae")
def feature_logits(lake: "Lake", sae: str) -> "Published":
    """One row per feature: the tokens whose logits its decoder direction raises and lowers most."""
    from pipeline.features.logits import write_feature_logits

    return write_feature_logits(lake, sae)


@table_asset(group="prepare", by="sae")
def feature_neighbours(lake: "Lake", sae: str) -> "Published":
    """One row per feature and near neighbour, by the cosine of their decoder directions."""
    from pipeline.features.neighbours import write_feature_neighbours

    return write_feature_neighbours(lake, sae)


@table_asset(group="prepare", by="sae")
def example_index(lake: "Lake", sae: str) -> "Published":
    """One row per candidate slot of a feature that a draw may take as an example."""
    from pipeline.features.selection import write_feature_table

    return write_feature_table(lake, "example_index", sae)


@table_asset(group="prepare", by="sae")
def estimate(lake: "Lake", sae: str) -> "Published":
    """One row per SAE, batch that the next run takes, and purpose: what the run would send, and its price."""
    from pipeline.estimate import write_estimate

    return write_estimate(lake, sae)
