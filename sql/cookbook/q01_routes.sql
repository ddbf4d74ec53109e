-- One row per SAE and route: which routes did the features take, and how many are selected?
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
