-- One row per feature and candidate slot that may become an example: the activating slots that are kept, and the
-- silent ones that were drawn.
with drawn as (
    select side, slot, peak, 'activating' as kind, decile, rank, draw, n_slots
    from kept_slots
    union all
    select side, slot, null, 'silent', null, null, draw, n_slots
    from silent_slots
)
select
    $sae as sae,
    drawn.side // 2 as feature,
    candidate_slots.context_id,
    candidate_slots.start,
    drawn.peak,
    candidate_slots.role::enum('test', 'train') as role,
    drawn.kind::enum('activating', 'silent') as kind,
    drawn.decile,
    drawn.rank,
    drawn.draw,
    drawn.n_slots
from drawn
join candidate_slots using (slot)
order by drawn.side, drawn.kind, drawn.draw, drawn.rank
