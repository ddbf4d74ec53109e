-- One row per feature: which features fire on nearly every occurrence of a token, and on little else?
with totals as (
    select sae, feature, sum(n_active) as n_active
    from feature_tokens
    group by sae, feature
)
select
    feature_stats.sae,
    feature_stats.feature,
    top.token.text as token,
    top.token.n_active as n_on_the_token,
    round(top.token.fire_share, 2) as share_of_the_token,
    round(top.token.n_active / totals.n_active, 2) as share_of_the_firings
from feature_stats
join totals using (sae, feature)
cross join (select unnest(feature_stats.top_tokens[:1]) as token) as top
where top.token.n_active >= 20 and top.token.fire_share > 0.9
order by share_of_the_firings desc, n_on_the_token desc, feature_stats.feature
