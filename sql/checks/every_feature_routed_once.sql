-- One row per feature of SAE $sae that has not exactly one route.
with all_features as (
    select unnest(range(n_features)) as feature, true as is_known from saes where sae = $sae
)
select feature, count(feature_routes.route) as n_routes
from all_features
full join feature_routes using (feature)
group by feature
having count(feature_routes.route) <> 1 or not coalesce(bool_and(is_known), false)
