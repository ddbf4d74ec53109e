-- One row: feature $feature of SAE $sae, with its statistics, route, logits and exact score of its rule, and the
-- numbers of the features before and after it.
select
    feature_stats.n_active,
    feature_stats.density,
    feature_stats.max_activation,
    feature_stats.mean_activation,
    feature_stats.n_documents_train,
    feature_stats.n_documents_test,
    feature_stats.n_top_tokens,
    feature_stats.position_score,
    feature_stats.top_tokens,
    feature_routes.route,
    feature_routes.reason as route_reason,
    feature_logits.path,
    feature_logits.promoted,
    feature_logits.suppressed,
    rule_scores.f1 as rule_f1,
    (select max(feature) from feature_index where sae = $sae and feature < $feature) as previous_feature,
    (select min(feature) from feature_index where sae = $sae and feature > $feature) as next_feature
from feature_stats
left join feature_routes
    on feature_routes.sae = $sae and feature_routes.feature = $feature
left join feature_logits
    on feature_logits.sae = $sae and feature_logits.feature = $feature
left join rule_scores
    on rule_scores.sae = $sae and rule_scores.feature = $feature
where feature_stats.sae = $sae and feature_stats.feature = $feature
