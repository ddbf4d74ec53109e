-- One row per feature and candidate slot that it fires in: its peak, and the slot's place in the hash order.
-- side is feature and role in one integer.
select
    2 * p.feature + (s.role = 'train')::int as side,
    p.slot,
    p.peak,
    hash($seed::bigint, $sae::varchar, p.feature::int, s.role, s.context_id::bigint, s.start::int, 'example')
        as lot
from slot_peaks as p
join candidate_slots as s using (slot)
