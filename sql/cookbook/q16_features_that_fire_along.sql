-- One row per other feature: which other features fire on the tokens of one feature more often than by chance?
with picked as (
    select sae, feature
    from selected_features
    order by place, feature
    limit 1
),
own as (
    select activations.sae, activations.token_index
    from activations
    semi join picked using (sae, feature)
),
along as (
    select activations.sae, activations.feature, count(*) as n_both
    from activations
    semi join own using (sae, token_index)
    anti join picked using (sae, feature)
    group by activations.sae, activations.feature
)
select
    along.sae,
    (select picked.feature from picked) as feature,
    along.feature as other,
    along.n_both,
    round(along.n_both / (select count(*) from own), 2) as share_of_its_tokens,
    round(along.n_both / ((select count(*) from own) * feature_stats.density), 1) as times_chance
from along
join feature_stats using (sae, feature)
where along.n_both >= 5
order by times_chance desc, other
