-- One row per row of the example index of a feature of batch $batch, with its slot.
select i.*, s.slot, s.n_tokens
from example_index as i
semi join batch_features using (feature)
join candidate_slots as s on s.context_id = i.context_id and s.start = i.start
where i.feature >= $first_feature and i.feature < $end_feature  -- of the batch: the other rows are not read
