-- One row per figure of feature_rules: features whose chosen rule reaches a given F1 on train documents.
select
    unnest(['features_with_rule', 'f1_above_0.7', 'f1_above_0.8', 'f1_above_0.9']) as figure,
    unnest([
        count(*), count(*) filter (train_f1 >= 0.7), count(*) filter (train_f1 >= 0.8),
        count(*) filter (train_f1 >= 0.9)
    ]) as value
from feature_rules
where is_chosen
