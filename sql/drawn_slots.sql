-- One row per silent slot in the example index of a feature of the batch.
select i.feature, s.slot
from example_index as i
semi join batch_features using (feature)
join candidate_slots as s on s.context_id = i.context_id and s.start = i.start
where i.kind = 'silent'
