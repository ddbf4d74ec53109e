-- One row per value by which the list of features can be filtered (SAEs, routes, explainers and scorers), with the
-- number of features or explanations that have it.
select 'sae' as filter, sae as value, count(*) as n
from feature_index
group by sae
union all
select 'route', route, count(*)
from feature_index
where route is not null
group by route
union all
select 'explainer', explainer, count(*)
from explanation_index
where is_shown
group by explainer
union all
select 'scorer', scorer, count(value)
from score_index
group by scorer
order by filter, n desc, value
