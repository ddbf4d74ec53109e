-- One row per feature from $first_feature to below $end_feature with train firings: how many, and the fewest
-- tokens that cover its top firings, by rank and by activation mass.
-- Rows made by pipeline/compiled/token_mass.py: feature_masses
with ordered as (
    select
        *,
        sum(sum_activation) over (partition by feature) as mass,
        sum(sum_activation) over (
            partition by feature order by sum_activation desc, token_id
            rows between unbounded preceding and current row
        ) - sum_activation as mass_before
    from feature_tokens
    where feature >= $first_feature and feature < $end_feature
)
select
    feature,
    sum(n_active)::bigint as n_active_train,
    count(*) filter (n_top > 0) as n_top_tokens,
    count(*) filter (mass_before < $heuristics_top_share * mass) as n_mass_tokens
from ordered
group by feature
order by feature
