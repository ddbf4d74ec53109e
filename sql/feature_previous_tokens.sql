-- One row per feature with train firings: how few tokens stand before its firings, by rank and by mass.
with pairs as (
    select
        a.feature,
        t.previous_token_id,
        count(*) filter (a.activation >= c.top_cut) as n_top,
        sum(a.activation::double) as sum_activation
    from activations as a
    join corpus_tokens as t using (token_index)
    join feature_cuts as c using (feature)
    where t.role = 'train' and t.position >= 1
    group by a.feature, t.previous_token_id
),
ordered as (
    select
        *,
        sum(sum_activation) over (partition by feature) as mass,
        sum(sum_activation) over (
            partition by feature order by sum_activation desc, previous_token_id
            rows between unbounded preceding and current row
        ) - sum_activation as mass_before
    from pairs
)
select
    feature,
    count(*) filter (n_top > 0) as n_top_previous_tokens,
    count(*) filter (mass_before < $heuristics_top_share * mass) as n_mass_previous_tokens
from ordered
group by feature
