-- One row per feature from $first_feature to below $end_feature with a chosen rule: what the rule names.
select
    feature as rule_id,
    feature,
    token_ids,
    token_class,
    previous_token_ids,
    previous_class,
    n_before,
    is_excluded,
    position_below
from feature_rules
where is_chosen and feature >= $first_feature and feature < $end_feature
