-- One row per silent slot in the example index of a feature of the batch.
select feature, slot
from batch_index
where kind = 'silent'
