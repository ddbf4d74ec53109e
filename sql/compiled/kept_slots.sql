-- One row per activating slot that is kept: the first of each role and decile in hash order, and the strongest of
-- each role.
-- decile: 10 - floor(10 (rank - 1) / n), so 10 holds the strongest peaks; ties are broken by hash.
-- draw: the order of the draw. Slots kept by their decile's draw come first, so that drawing that many favours no
-- decile. Test slots kept for their strength alone have no draw, so a draw of test slots does not depend on the
-- strength of others.
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
        count(*) over (partition by side, decile) as n_slots,
        decile_draw > $sampling_draws_per_decile as is_late,
        not is_late or side % 2 = 1 as is_drawn
    from deciled
)
select
    side,
    slot,
    peak,
    decile,
    rank,
    if(is_drawn, row_number() over (partition by side order by is_late, lot, slot), null) as draw,
    n_slots
from drawn
where not is_late or rank <= $sampling_top
order by side, draw, rank
