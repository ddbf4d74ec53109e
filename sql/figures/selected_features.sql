-- One row per figure of selected_features: how many by route.
select 'selected_' || route as figure, count(*) as value
from selected_features
join feature_routes using (sae, feature)
group by route
order by figure
