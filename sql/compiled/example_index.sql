-- One row per candidate slot of a feature that a draw may take: the activating ones that are kept, and the silent
-- ones that were drawn.
-- Rows made by pipeline/compiled/drawing.py: Draws.example_index
with drawn as (
    select side, slot, peak, 'activating' as kind, decile, rank, draw, n_slots
    from kept_slots
    union all
    select side, slot, null, 'silent', null, null, draw, n_slots
    from silent_slots
)
select
    $sae as sae,
    d.side // 2 as feature,
    s.context_id,
    s.start,
    d.peak,
    s.role,
    d.kind,
    d.decile,
    d.rank,
    d.draw,
    d.n_slots
from drawn as d
join candidate_slots as s using (slot)
order by feature, s.role, d.kind, d.draw
