-- One row per train window that an explainer is shown, in the order shown: the first $n_shown activating ones of a
-- sampling, and $n_silent silent ones.
select feature, kind = 'activating' as is_active, example_id, token_ids, activations
from examples
semi join batch_features using (feature)
where
    role = 'train'
    and not is_judge
    and if(kind = 'activating', places[$sampling] <= $n_shown, draw <= $n_silent)
order by feature, draw_hash($seed, (example_id, 'shown')), example_id
