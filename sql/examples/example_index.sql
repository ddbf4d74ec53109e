-- One row per candidate slot of a feature that a draw may take: the activating ones that are kept, and the silent
-- ones that were drawn.
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
    s.role::enum('test', 'train') as role,
    d.kind::enum('activating', 'silent') as kind,
    d.decile,
    d.rank,
    d.draw,
    d.n_slots
from drawn as d
join candidate_slots as s using (slot)
order by d.side, d.kind, d.draw
