-- One row per test window of the batch's features: its tokens, and the feature's activation on each from 0 to 10,
-- where 10 is its largest activation on train documents.
select
    examples.feature,
    examples.token_ids,
    strengths(examples.activations, feature_stats.max_activation_train)::int[] as strengths
from examples
join feature_stats using (feature)
where examples.role = 'test'
