-- One row per rule: which rules are too broad (recall without precision), which too narrow (the reverse)? On
-- test tokens.
select
    rule_scores.sae,
    rule_scores.feature,
    round(rule_scores.precision, 2) as precision,
    round(rule_scores.recall, 2) as recall,
    if(rule_scores.precision < rule_scores.recall, 'too broad', 'too narrow') as fault,
    feature_rules.rule
from rule_scores
join feature_rules using (sae, feature)
where feature_rules.is_chosen and abs(rule_scores.precision - rule_scores.recall) > 0.3 and rule_scores.f1 > 0.3
order by abs(rule_scores.precision - rule_scores.recall) desc, rule_scores.feature
