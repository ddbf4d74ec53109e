-- One row per feature and candidate slot that it fires in: its peak, and what orders the draw (lot). side
-- holds feature and role in one integer.
select
    2 * feature + (role = 'train')::int as side,
    slot,
    peak,
    draw_hash($seed, ($sae, feature, role, context_id, start, 'example')) as lot
from slot_peaks
