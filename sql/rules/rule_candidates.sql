-- One row per feature from $first_feature to below $end_feature, target and token that may be in a rule's set: how
-- often the token is a hit on train documents (position 0 left out), how often it occurs, and how many hits the
-- feature has in all.
-- Dense features are left out: a rule for them says little more than 'always fires'.
with counts as (
    unpivot (
        select feature, token_id, n_active as "any", n_strong as strong
        from feature_tokens
        where feature >= $first_feature and feature < $end_feature
    )
    on "any", strong into name target value n_hits
),
totals as (
    select feature, target, sum(n_hits)::double as n_targets
    from counts
    group by feature, target
)
select feature, target, token_id, n_hits::double as n_hits, n_tokens::double as n_tokens, n_targets
from counts
join totals using (feature, target)
join train_tokens using (token_id)
semi join (select feature from feature_stats where density <= $routing_dense) using (feature)
where n_hits >= $rules_min_support
