-- One row per SAE, route, explainer and scorer: the mean, spread and coverage of its scores over features.
-- A feature with several draws counts once, by their mean. Graded windows of which none fits an explanation, or
-- all do, count as chance (value_or_chance). Coverage is the share of all questions that was answered.
with by_feature as (
    select
        sae,
        route,
        explainer,
        scorer,
        metric,
        feature,
        exact_mean(value_or_chance) as value,
        exact_mean(chance) as chance,
        exact_mean(all_wrong) as all_wrong,
        exact_mean(all_right) as all_right,
        exact_mean(interval_variance(low, high, $scoring_z::double)) as own_variance,
        sum(n_scored) as n_scored,
        sum(n_scored + n_unscored) as n_asked
    from summarised_scores
    group by sae, route, explainer, scorer, metric, feature
)
select
    sae,
    route,
    explainer,
    scorer,
    metric,
    exact_mean(chance) as chance,
    if(metric = 'correlation', -1, 0) as least_value,
    count(value) as n_features,
    count(*) filter (value is null and n_asked > 0) as n_unscored_features,
    n_features / nullif(n_features + n_unscored_features, 0) as scored_share,
    exact_mean(value) as mean,
    error_of_mean(value, own_variance) as error,
    quantile_cont(value, 0.1) as p10,
    quantile_cont(value, 0.5) as p50,
    quantile_cont(value, 0.9) as p90,
    sum(n_scored)::double / nullif(sum(n_asked), 0)::double as coverage,
    exact_mean(all_wrong) as mean_all_wrong,
    exact_mean(all_right) as mean_all_right
from by_feature
group by sae, route, explainer, scorer, metric
