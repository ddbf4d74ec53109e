-- One row per feature with train firings: how few tokens it fires on, by rank and by activation mass, and
-- which. fire_share is p(fire | token) on train documents.
-- Only tokens that can matter are put in order: those among the most, and those above their even share of the
-- mass that may be left over (the others together have no more than that).
with counts as (
    select * from feature_tokens where feature >= $first_feature and feature < $end_feature
),
totals as (
    select
        feature,
        sum(n_active)::bigint as n_active_train,
        count(*) filter (n_top > 0) as n_top_tokens,
        sum(sum_activation) as mass,
        least(
            mass * (1 - $heuristics_top_share) / count(*),
            max(sum_activation, $heuristics_top_tokens)[-1]
        ) as floor
    from counts
    group by feature
),
ordered as (
    select
        c.*,
        t.n_active_train,
        t.n_top_tokens,
        t.mass,
        row_number() over by_mass as place,
        sum(sum_activation) over (by_mass rows between unbounded preceding and current row) - sum_activation
            as mass_before
    from counts as c
    join totals as t using (feature)
    where c.sum_activation >= t.floor
    window by_mass as (partition by feature order by sum_activation desc, token_id)
)
select
    feature,
    any_value(n_active_train) as n_active_train,
    any_value(n_top_tokens) as n_top_tokens,
    count(*) filter (mass_before < $heuristics_top_share * mass) as n_mass_tokens,
    list({
        'token_id': token_id,
        'text': tokens.text,
        'n_active': n_active,
        'n_tokens': n_tokens,
        'fire_share': n_active / n_tokens,
        'mean_activation': sum_activation / n_active
    } order by place) filter (place <= $heuristics_top_tokens) as top_tokens
from ordered
join train_tokens using (token_id)
join tokens using (token_id)
group by feature
