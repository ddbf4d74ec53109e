-- One row per SAE, scorer and explainer: what is an explainer's mean score over all features of its
-- routes, whether drawn or not?
with route_sizes as (
    select sae, route, count(*) as n_features
    from feature_routes
    group by sae, route
),
explained as (
    select
        summary.sae,
        summary.scorer,
        summary.metric,
        summary.explainer,
        summary.route,
        summary.n_features as n_scored,
        route_sizes.n_features,
        route_sizes.n_features / sum(route_sizes.n_features) over by_explainer as share,
        summary.mean,
        power(share * (summary.mean - summary.ci_low), 2) as low_square,
        power(share * (summary.ci_high - summary.mean), 2) as high_square
    -- A quota draws a larger share of some routes than of others. So a route's mean counts by the number of the
    -- route's features in the SAE, not in the sample. With a list of features (selection.features) instead of
    -- quotas, the mean is of these features and holds for no others.
    from summary
    join route_sizes using (sae, route)
    where summary.n_features > 0
    window by_explainer as (partition by summary.sae, summary.scorer, summary.explainer)
)
select
    sae,
    scorer,
    metric,
    explainer,
    -- Explainers can be compared if these are the same, as their means are of the same n_features.
    string_agg(route, ', ' order by route) as routes,
    sum(n_scored)::bigint as n_scored,
    sum(n_features)::bigint as n_features,
    round(sum(share * mean), 3) as mean_score,
    -- From the routes' own intervals; null if one of them has none (under 3 features).
    round(sum(share * mean) - sqrt(complete_sum(low_square)), 3) as low,
    round(sum(share * mean) + sqrt(complete_sum(high_square)), 3) as high
from explained
group by sae, scorer, metric, explainer
order by sae, scorer, mean_score desc
