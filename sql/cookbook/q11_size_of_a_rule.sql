-- One row per size of token set: how many features does a larger set of tokens predict? By F1 on train documents,
-- for any firing.
with live as (
    select sae, feature
    from feature_stats
    where n_active >= 100
)
select
    feature_rules.max_tokens,
    count(*) as n_features,
    round(avg((feature_rules.train_f1 >= 0.7)::int), 3) as share_from_70_percent,
    round(avg((feature_rules.train_f1 >= 0.8)::int), 3) as share_from_80_percent,
    round(avg((feature_rules.train_f1 >= 0.9)::int), 3) as share_from_90_percent
from feature_rules
semi join live using (sae, feature)
where feature_rules.target = 'any' and feature_rules.kind = 'token'
group by feature_rules.max_tokens
order by feature_rules.max_tokens
