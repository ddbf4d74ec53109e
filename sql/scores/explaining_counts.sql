-- One row per SAE, route and explainer: how many features it was to explain, how many it explained, and for how
-- many its answer repeats the prompt.
select
    explanations.sae,
    feature_routes.route,
    explanations.explainer,
    count(distinct explanations.feature) as n_asked_features,
    count(distinct explanations.feature) filter (explanations.status = 'ok') as n_explained_features,
    count(distinct explanations.feature) filter (
        explanations.is_chosen and explanations.status = 'echoed'
    ) as n_echoed_features
from explanations
join feature_routes using (sae, feature)
where explanations.status <> 'not_asked'
group by explanations.sae, feature_routes.route, explanations.explainer
