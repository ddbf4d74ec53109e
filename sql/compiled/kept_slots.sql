-- One row per activating slot that a draw may take: the strongest train slots, and the first of each role and
-- decile in hash order.
-- decile: 10 - floor(10 (rank - 1) / n), so 10 holds the strongest peaks; ties fall by hash.
-- draw: those that their decile's draw takes come first, so that up to as many draws favour no decile.
-- Rows made by pipeline/compiled/drawing.py: kept_slots
with ranked as (
    select
        *,
        row_number() over (partition by side order by peak desc, lot, slot) as rank,
        count(*) over (partition by side) as n_side_slots
    from active_slots
),
deciled as (
    select *, 10 - (rank - 1) * 10 // n_side_slots as decile
    from ranked
),
drawn as (
    select
        *,
        row_number() over (partition by side, decile order by lot, slot) as decile_draw,
        count(*) over (partition by side, decile) as n_slots
    from deciled
)
select
    side,
    slot,
    peak,
    decile,
    rank,
    row_number() over (partition by side order by decile_draw > $sampling_draws_per_decile, lot, slot) as draw,
    n_slots
from drawn
where decile_draw <= $sampling_draws_per_decile or (side % 2 = 1 and rank <= $sampling_top)
order by side, draw
