-- One row per SAE and route: how many features took it, and how many of these are selected.
select
    feature_routes.sae,
    feature_routes.route,
    count(*) as n_features,
    count(*) / sum(count(*)) over (partition by feature_routes.sae) as share,
    count(selected_features.feature) as n_selected
from feature_routes
left join selected_features using (sae, feature)
group by feature_routes.sae, feature_routes.route
order by feature_routes.sae, n_features desc, feature_routes.route
