-- One row per candidate slot of a feature that a draw may take: of the activating ones the strongest train
-- slots and the first of each role and decile in hash order, and the silent ones that were drawn.
-- decile: 10 - floor(10 (rank - 1) / n), so 10 holds the strongest peaks; ties fall by hash.
with ranked as (
    select
        side,
        slot,
        peak,
        lot,
        row_number() over (partition by side order by peak desc, lot, slot) as rank
    from active_slots
),
side_counts as (
    select side, count(*) as n_side_slots from active_slots group by side
),
deciled as (
    select r.*, 10 - (r.rank - 1) * 10 // c.n_side_slots as decile
    from ranked as r
    join side_counts as c using (side)
),
decile_counts as (
    -- Of the smallest lots, in order, the last one that is taken.
    select side, decile, count(*) as n_slots, min(lot, $sampling_draws_per_decile)[-1] as last_lot
    from deciled
    group by side, decile
),
kept as (
    select d.*, c.n_slots
    from deciled as d
    join decile_counts as c using (side, decile)
    where d.lot <= c.last_lot or (d.side % 2 = 1 and d.rank <= $sampling_top)
),
joined as (
    select
        side // 2 as feature,
        slot,
        peak,
        'activating' as kind,
        decile,
        rank,
        row_number() over (partition by side order by lot, slot) as draw,
        n_slots
    from kept
    union all
    select feature, slot, null, 'silent', null, null, draw, n_slots
    from silent_slots
)
select
    $sae as sae,
    j.feature,
    s.context_id,
    s.start,
    j.peak,
    s.role,
    j.kind,
    j.decile,
    j.rank,
    j.draw,
    j.n_slots
from joined as j
join candidate_slots as s using (slot)
order by j.feature, s.role, j.kind, j.draw
