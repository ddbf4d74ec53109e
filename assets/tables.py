"""The asset of every table, in the order of the data: a list, as the work is in `pipeline`."""

from assets.graph.declare import TableAsset, asking_asset, python_asset, sql_asset

TABLE_ASSETS: dict[str, TableAsset] = {
    asset.table.name: asset
    for asset in (
        # The corpus and the SAEs, once for the whole experiment.
        python_asset("saes", "pipeline.sae.write"),
        python_asset("documents", "pipeline.corpus.documents"),
        python_asset("tokens", "pipeline.corpus.tokens"),
        python_asset("slots", "pipeline.corpus.slots"),
        sql_asset("train_words"),
        python_asset("sae_fit", "pipeline.fit.write"),
        # The forward pass, by shard of the corpus: what a GPU worker takes.
        python_asset("contexts", "pipeline.corpus.contexts"),
        python_asset("activation_shards", "pipeline.firings.write"),
        # All features of one SAE at once: sorted firings, statistics, rules, routes and candidate examples.
        python_asset("activations", "pipeline.firings.store"),
        sql_asset("feature_tokens"),
        sql_asset("feature_stats"),
        python_asset("scrambled_contexts", "pipeline.features.scrambled_contexts"),
        sql_asset("context_independence"),
        sql_asset("feature_rules"),
        sql_asset("rule_scores"),
        sql_asset("feature_routes"),
        python_asset("selected_features", "pipeline.features.selection"),
        python_asset("feature_logits", "pipeline.features.logits"),
        python_asset("feature_neighbours", "pipeline.features.neighbours"),
        sql_asset("feature_cofirings"),
        sql_asset("example_index"),
        python_asset("estimate", "pipeline.estimate"),
        # Selected features, by SAE and batch of feature ids: examples, explanations, and how well they predict.
        sql_asset("examples"),
        sql_asset("fuzzing_pairs"),
        python_asset("steered_texts", "pipeline.features.steered_texts"),
        python_asset("token_changes", "pipeline.features.token_changes"),
        asking_asset("explanations", "pipeline.explainers.write"),
        asking_asset("scorer_rhos", "pipeline.pilot.write"),
        asking_asset("predictions", "pipeline.scorers.write"),
        sql_asset("scores"),
        sql_asset("score_details"),
        # Over all batches.
        python_asset("summary", "pipeline.summary"),
        sql_asset("scorer_agreements"),
        python_asset("explainer_comparisons", "pipeline.summary"),
    )
}
