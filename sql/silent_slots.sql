-- One row per feature and drawn candidate slot in which it does not fire.
-- Each feature that fires draws silent_candidates slots a role by hash; those where it fires fall away.
with roles as (
    select role, count(*) as n_role_slots from candidate_slots group by role
),
active_counts as (
    select side, count(*) as n_active_slots from active_slots group by side
),
sides as (
    select
        2 * f.feature + (role = 'train')::int as side,
        f.feature,
        role,
        n_role_slots,
        n_role_slots - coalesce(n_active_slots, 0) as n_slots
    from (select distinct side // 2 as feature from active_counts) as f
    cross join roles
    left join active_counts as a on a.side = 2 * f.feature + (role = 'train')::int
),
lots as (
    select
        side,
        lot,
        hash($seed::bigint, $sae::varchar, feature::int, role, lot::int, 'silent') % n_role_slots as number
    from sides
    cross join range($sampling_silent_candidates) as r(lot)
),
drawn as (
    select side, number, min(lot) as lot
    from lots
    group by side, number
),
silent as (
    select d.side, d.lot, t.feature, t.n_slots, s.slot
    from drawn as d
    join sides as t using (side)
    join candidate_slots as s on s.role = t.role and s.number = d.number
    anti join slot_peaks as p on p.feature = t.feature and p.slot = s.slot
)
select feature, slot, row_number() over (partition by side order by lot) as draw, n_slots
from silent
qualify draw <= $sampling_silent_draws
