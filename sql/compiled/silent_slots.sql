-- One row per feature and drawn candidate slot in which it does not fire. Of the slots that were drawn, those
-- where the feature fires are dropped, and so are repeats.
-- Rows made by pipeline/compiled/drawing.py: silent_slots
with active_counts as (
    select side, count(*) as n_active_slots from active_slots group by side
),
role_counts as (
    select (role = 'train')::int as is_train, count(*) as n_role_slots from candidate_slots group by role
),
silent as (
    select side, slot, min(lot) as lot
    from silent_lots
    anti join active_slots using (side, slot)
    group by side, slot
)
select
    side,
    slot,
    row_number() over (partition by side order by lot) as draw,
    n_role_slots - coalesce(n_active_slots, 0) as n_slots
from silent
join role_counts on is_train = side % 2
left join active_counts using (side)
qualify draw <= $sampling_silent_draws
order by side, draw
