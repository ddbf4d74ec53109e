-- One row per feature: which features does a rule predict, so that no language model has to be asked? Surest
-- first.
select
    feature_rules.sae,
    feature_rules.feature,
    feature_rules.rule,
    round(feature_rules.train_f1, 2) as train_f1,
    round(rule_scores.f1, 2) as test_f1,
    round(rule_scores.f1_low, 2) as low,
    round(rule_scores.f1_high, 2) as high
from feature_rules
join rule_scores using (sae, feature)
where feature_rules.is_chosen and rule_scores.f1 >= 0.8
order by rule_scores.f1_low desc nulls last, feature_rules.feature
