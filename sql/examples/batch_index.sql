-- One row per row of the example index of a feature of batch $batch, with its slot number.
select example_index.*, candidate_slots.slot, candidate_slots.n_tokens
from example_index
semi join batch_features using (feature)
join candidate_slots
    on candidate_slots.context_id = example_index.context_id
    and candidate_slots.start = example_index.start
-- All features of the batch have ids in this range: other rows are not read.
where example_index.feature >= $first_feature and example_index.feature < $end_feature
