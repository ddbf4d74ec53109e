-- One row per route of SAE $sae: its features, their share, and how many are selected.
select
    route,
    count(*) as n_features,
    count(*) / sum(count(*)) over () as share,
    count(selected_features.feature) as n_selected
from feature_routes
left join selected_features using (sae, feature)
where sae = $sae
group by route
order by n_features desc
