-- One row per feature from $first_feature to below $end_feature, target, and token or class of tokens that a rule
-- may name: how often it is a hit on train documents (position 0 left out), how often it occurs, and the feature's
-- hits in total.
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
    semi join (select feature from feature_stats where density_train <= $routing_dense) using (feature)
    group by feature, target
),
class_tokens as (
    select token_classes.token_class, sum(train_tokens.n_tokens)::double as n_tokens
    from token_classes
    join train_tokens using (token_id)
    group by token_classes.token_class
),
class_counts as (
    select counts.feature, token_classes.token_class, sum(counts.n_hits)::double as n_hits
    from counts
    join token_classes using (token_id)
    where counts.target = 'any'
    group by counts.feature, token_classes.token_class
)
select
    feature,
    target,
    token_id,
    null::varchar as token_class,
    n_hits::double as n_hits,
    n_tokens::double as n_tokens,
    n_targets
from counts
join totals using (feature, target)
join train_tokens using (token_id)
where n_hits >= $rules_min_support
union all
select feature, target, null, token_class, n_hits, n_tokens, n_targets
from class_counts
join totals using (feature)
join class_tokens using (token_class)
where target = 'any' and n_hits >= $rules_min_support
