-- One row per route of selected_features: its number of features.
select 'selected_' || route as figure, count(*) as value
from selected_features
join feature_routes using (sae, feature)
group by route
order by figure
