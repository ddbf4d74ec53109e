-- One row per feature: the features whose rule predicts much worse on test documents than on train documents.
select sae, feature, rule, round(train_f1, 2) as train_f1, round(f1, 2) as test_f1, n_fired_documents
from feature_rules
join rule_scores using (sae, feature)
where is_chosen and n_fired_documents >= 10
order by train_f1 - f1 desc
limit 50
