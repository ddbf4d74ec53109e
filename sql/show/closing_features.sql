-- A few rows per route of SAE $sae: selected features first, then by feature id; dead features are left out.
select
    feature_routes.route,
    feature_routes.feature,
    feature_stats.n_active,
    feature_stats.top_tokens[:3] as top_tokens,
    feature_routes.reason
from feature_routes
join feature_stats using (sae, feature)
left join selected_features using (sae, feature)
where feature_routes.sae = $sae and feature_routes.route <> 'dead'
qualify row_number() over (partition by route order by selected_features.feature is null, feature) <= 4
order by feature_routes.route, feature_routes.feature
