-- One row per train window that the explainer is shown, in the order in which it is shown.
select feature, example_id, token_ids, activations
from examples
semi join batch_features using (feature)
where role = 'train'
order by feature, hash($seed::bigint, example_id, 'shown'), example_id
