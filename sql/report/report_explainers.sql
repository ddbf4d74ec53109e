-- One row per SAE, scorer, route and explainer: the mean of its scores over features with Student's interval, null
-- under 3 features, and the range of the middle 80 % of features. Controls are explainers that the config does not
-- name.
select
    sae,
    scorer,
    metric,
    route,
    explainer,
    not list_contains($explaining_explainers::varchar[], explainer) as is_control,
    n_features,
    n_asked_features,
    explained_share,
    mean_failed_at_chance,
    mean,
    ci_low,
    ci_high,
    p10,
    p50,
    p90,
    coverage
from summary
where n_features > 0
order by sae, scorer, is_control desc, explainer desc, route
