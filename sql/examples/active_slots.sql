-- One row per feature and candidate slot that it fires in: its peak, and the hash that orders the draw (lot). side
-- holds feature and role in one integer.
select
    2 * feature + (role = 'train')::int as side,
    slot,
    peak,
    hash($seed::bigint, $sae::varchar, feature::int, role, context_id::bigint, start::int, 'example') as lot
from slot_peaks
