-- One row per feature from $first_feature to below $end_feature with a chosen rule: its figures on test documents.
select $sae as sae, * exclude (rule_id, role)
from rule_role_scores
where role = 'test'
order by feature
