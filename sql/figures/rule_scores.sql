-- One row per figure of rule_scores: features whose rule reaches a given F1 on test documents, and the median drop
-- of F1 from train to test.
select
    unnest(['rules', 'f1_above_0.7', 'f1_above_0.8', 'f1_above_0.9', 'median_fall_of_f1']) as figure,
    unnest([
        count(*), count(*) filter (f1 >= 0.7), count(*) filter (f1 >= 0.8), count(*) filter (f1 >= 0.9),
        round(median(train_f1 - f1), 4)
    ]) as value
from rule_scores
join feature_rules using (sae, feature)
where is_chosen
