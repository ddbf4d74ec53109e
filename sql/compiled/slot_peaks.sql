-- One row per feature and candidate slot that it fires in: where the slot lies, and its strongest activation.
-- Rows made by pipeline/compiled/counting.py: Counts.slot_peaks
with peaks as (
    select feature, slot, max(activation) as peak
    from firings
    where slot is not null
    group by feature, slot
)
select
    peaks.feature,
    peaks.slot,
    candidate_slots.role,
    candidate_slots.context_id,
    candidate_slots.start,
    peaks.peak
from peaks
join candidate_slots using (slot)
order by peaks.feature, peaks.slot
