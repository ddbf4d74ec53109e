-- One row per SAE and route: where did the features go, and how many are asked about?
select
    feature_routes.sae,
    feature_routes.route,
    count(*) as n_features,
    round(count(*) / sum(count(*)) over (partition by feature_routes.sae), 3) as share,
    count(selected_features.feature) as n_selected
from feature_routes
left join selected_features using (sae, feature)
group by feature_routes.sae, feature_routes.route
order by feature_routes.sae, n_features desc, feature_routes.route
