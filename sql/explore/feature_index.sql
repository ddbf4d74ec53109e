-- One row per feature of every SAE: what the list of features shows, sorts and filters by. The tokens are those
-- with the largest summed activation, and beside them as they are searched for: without spaces, in lower case.
select
    feature_stats.sae,
    feature_stats.feature,
    feature_routes.route,
    feature_stats.n_active,
    feature_stats.density,
    feature_stats.max_activation,
    list_transform(feature_stats.top_tokens[:6], lambda token: token.text) as top_tokens,
    list_transform(feature_stats.top_tokens, lambda token: lower(trim(token.text))) as searched_tokens,
    feature_rules.rule,
    feature_rules.train_f1 as rule_f1
from feature_stats
left join feature_routes using (sae, feature)
left join feature_rules
    on feature_rules.sae = feature_stats.sae
    and feature_rules.feature = feature_stats.feature
    and feature_rules.is_chosen
order by feature_stats.sae, feature_stats.feature
