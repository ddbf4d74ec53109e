-- One row per feature of every SAE: what the list of features shows, sorts and filters by. It has the explanation
-- that stands for the feature, and that explanation's score by the SAE's main scorer. The tokens are those with
-- the largest summed activation; searched_tokens has them as they are searched for: without spaces, in lower case.
with worded as (
    select explanation_index.sae, explanation_index.feature, explanation_index.explanation_id, score_index.value
    from explanation_index
    left join score_index
        on score_index.explanation_id = explanation_index.explanation_id and score_index.is_main
    where explanation_index.rank = 1
)
select
    feature_stats.sae,
    feature_stats.feature,
    feature_routes.route,
    feature_stats.n_active,
    feature_stats.density,
    feature_stats.max_activation,
    worded.explanation_id,
    worded.value,
    list_transform(feature_stats.top_tokens[:6], lambda token: token.text) as top_tokens,
    list_transform(feature_stats.top_tokens, lambda token: lower(trim(token.text))) as searched_tokens,
    feature_rules.rule,
    feature_rules.train_f1 as rule_f1
from feature_stats
left join feature_routes using (sae, feature)
left join worded using (sae, feature)
left join feature_rules
    on feature_rules.sae = feature_stats.sae
    and feature_rules.feature = feature_stats.feature
    and feature_rules.is_chosen
order by feature_stats.sae, feature_stats.feature
