-- One row per feature and candidate slot that it fires in: its strongest activation there.
-- The pipeline makes these rows from arrays, bucket by bucket (`pipeline/firings.py`); this is what they are.
select feature, slot, max(activation) as peak
from firings
where slot is not null
group by feature, slot
order by feature, slot
