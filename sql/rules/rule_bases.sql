-- One row per feature from $first_feature to below $end_feature whose contexts are searched: the F1 that a longer
-- rule has to reach, and two sets of tokens that it may combine with a clause on earlier tokens: `near`, the
-- tokens that gain at the F1 of the best single token, and `wide`, those that gain at a quarter of it; best token
-- first.
with counted as (
    select feature, n_active_train as n_targets
    from feature_stats
    where feature >= $first_feature and feature < $end_feature
        and density_train <= $routing_dense
        and n_active_train >= $rules_min_firings
),
firsts as (
    select feature, max(2 * (n_hits - $rules_discount) / (n_tokens + n_targets)) as f1
    from rule_candidates
    where target = 'any' and token_id is not null
    group by feature
),
gains as (
    select
        rule_candidates.*,
        widths.width,
        2 * (n_hits - $rules_discount) - widths.share * firsts.f1 * n_tokens as gain,
        row_number() over (
            partition by rule_candidates.feature, widths.width order by gain desc, token_id
        ) as rank
    from rule_candidates
    join firsts using (feature)
    cross join (values ('near', 1e0), ('wide', 0.25)) as widths (width, share)
    where target = 'any' and token_id is not null and gain > 0
),
sets as (
    select
        feature,
        list(token_id order by rank) filter (width = 'near') as near_token_ids,
        list(token_id order by rank) filter (width = 'wide') as wide_token_ids,
        2 * sum(n_hits) filter (width = 'near')
        / (sum(n_tokens) filter (width = 'near') + any_value(n_targets)) as near_f1
    from gains
    where rank <= $rules_chosen_max_tokens
    group by feature
)
select
    counted.feature,
    greatest($rules_min_f1, coalesce(sets.near_f1, 0) + $rules_parsimony) as floor_f1,
    coalesce(sets.near_token_ids, []) as near_token_ids,
    coalesce(sets.wide_token_ids, []) as wide_token_ids
from counted
left join sets using (feature)
where floor_f1 < 1
