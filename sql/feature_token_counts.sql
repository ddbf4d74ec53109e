-- One row per feature with train firings: how few tokens it fires on, by rank and by activation mass, and
-- which. fire_share is p(fire | token) on train documents.
with ordered as (
    select
        f.*,
        t.n_tokens,
        sum(sum_activation) over (partition by feature) as mass,
        row_number() over (partition by feature order by sum_activation desc, token_id) as place,
        sum(sum_activation) over (
            partition by feature order by sum_activation desc, token_id
            rows between unbounded preceding and current row
        ) - sum_activation as mass_before
    from feature_tokens as f
    join train_tokens as t using (token_id)
)
select
    feature,
    sum(n_active)::bigint as n_active_train,
    count(*) filter (n_top > 0) as n_top_tokens,
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
join tokens using (token_id)
group by feature
