-- One row per feature and candidate slot that it fires in: where the slot lies, and the strongest activation there.
-- Rows made by pipeline/compiled/counting.py: Counts.slot_peaks
with peaks as (
    select feature, slot, max(activation) as peak
    from firings
    where slot is not null
    group by feature, slot
)
select p.feature, p.slot, s.role, s.context_id, s.start, p.peak
from peaks as p
join candidate_slots as s using (slot)
order by p.feature, p.slot
