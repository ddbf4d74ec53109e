-- One row per rule of feature $feature of SAE $sae, the chosen one first.
select kind, max_tokens, target, rule, train_precision, train_recall, train_f1, always_f1, is_chosen
from feature_rules
where sae = $sae and feature = $feature
order by is_chosen desc, kind, target, max_tokens
