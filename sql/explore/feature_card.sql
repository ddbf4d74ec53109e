-- One row: feature $feature of SAE $sae, with its statistics, route, logits and exact score of its rule, and the
-- numbers of the features before and after it.
select
    feature_stats.*,
    feature_routes.route,
    feature_routes.reason as route_reason,
    feature_logits.path,
    feature_logits.promoted,
    feature_logits.suppressed,
    rule_scores.precision as rule_precision,
    rule_scores.recall as rule_recall,
    rule_scores.f1 as rule_f1,
    rule_scores.f1_low as rule_f1_low,
    rule_scores.f1_high as rule_f1_high,
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
