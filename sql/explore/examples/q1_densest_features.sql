-- One row per feature: the features that fire most often, and their routes.
select sae, feature, density, n_active, max_activation, route, reason
from feature_stats
join feature_routes using (sae, feature)
order by density desc
limit 50
