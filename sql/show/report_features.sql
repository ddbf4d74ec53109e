-- A few rows per route of SAE $sae: selected features first, then by feature id; the dead ones say nothing.
select r.route, r.feature, f.n_active, f.top_tokens[:3] as top_tokens, r.reason
from feature_routes as r
join feature_stats as f using (sae, feature)
left join selected_features as s using (sae, feature)
where r.sae = $sae and r.route <> 'dead'
qualify row_number() over (partition by r.route order by s.feature is null, r.feature) <= 4
order by r.route, r.feature
