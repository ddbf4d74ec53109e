-- One row per SAE, route, explainer and scorer: the scores on test documents of the route's features, by the
-- scorer's main metric (headline_scores): balanced accuracy; AUROC for a scorer that answers neither yes nor no;
-- accuracy for one that chooses among several; correlation for one that predicts activations.
-- The mean's interval is over features, by Student's t; null under 3 features. The table student_quantiles holds t
-- by the number of features.
-- Where an explainer chooses among its draws, the scores are those of its choice, and the search's cost is given
-- separately, beside what it gained.
-- A feature that an explainer failed to explain has no score: n_asked_features and explained_share show how many
-- it had to explain, n_unscored_features how many a scorer judged without a score, as too few answers came.
-- mean_failed_at_chance is the mean if both count as explanations that score at chance.
select
    score_means.sae,
    score_means.route,
    score_means.explainer,
    score_means.scorer,
    score_means.metric,
    score_means.chance,
    score_means.n_features,
    score_means.mean,
    clamp(score_means.mean - t * error, least_value, 1) as ci_low,
    clamp(score_means.mean + t * error, least_value, 1) as ci_high,
    score_means.p10,
    score_means.p50,
    score_means.p90,
    score_means.coverage,
    score_means.mean_all_wrong,
    score_means.mean_all_right,
    answer_correlations.rho as rho_found,
    if(score_costs.prompt_tokens is null, 0, score_costs.cost_usd) as cost_usd,
    coalesce(score_costs.prompt_tokens, 0) as prompt_tokens,
    coalesce(score_costs.cached_tokens, 0) as cached_tokens,
    coalesce(score_costs.completion_tokens, 0) as completion_tokens,
    if(score_costs.prompt_tokens is null, 0, score_costs.search_cost_usd) as search_cost_usd,
    coalesce(score_costs.search_tokens, 0) as search_tokens,
    coalesce(search_gains.n_searched_features, 0) as n_searched_features,
    search_gains.search_gain,
    coalesce(explaining_counts.n_asked_features, 0) as n_asked_features,
    coalesce(explaining_counts.n_echoed_features, 0) as n_echoed_features,
    score_means.n_unscored_features,
    explaining_counts.n_explained_features / explaining_counts.n_asked_features as explained_share,
    if(
        explained_share = 0 or score_means.scored_share = 0,
        score_means.chance,
        score_means.chance
        + (score_means.mean - score_means.chance) * score_means.scored_share * explained_share
    ) as mean_failed_at_chance
from score_means
left join explaining_counts using (sae, route, explainer)
left join search_gains using (sae, route, explainer)
left join student_quantiles using (n_features)
left join score_costs using (sae, route, explainer, scorer)
left join answer_correlations using (sae, scorer)
order by sae, route, explainer, scorer
