-- One row per feature of the SAEs with a rule: the chosen rule.
select feature_rules.*
from feature_rules
semi join exported_saes using (sae)
where feature_rules.is_chosen
order by feature_rules.sae, feature_rules.feature
