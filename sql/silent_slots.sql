-- One row per feature and drawn candidate slot in which it does not fire.
-- Each feature that fires draws silent_candidates slots a role by hash; those where it fires fall away.
with numbered as (
    select
        role,
        context_id,
        start,
        row_number() over (partition by role order by context_id, start) - 1 as number,
        count(*) over (partition by role) as n_role_slots
    from slots
    where is_candidate
),
firing as (
    select feature, role, count(*) as n_active_slots
    from active_slots
    group by feature, role
),
features as (
    select distinct feature from active_slots
),
lots as (
    select
        feature,
        role,
        n_role_slots,
        lot,
        hash($seed::bigint, $sae::varchar, feature::int, role, lot::int, 'silent') % n_role_slots as number
    from features
    cross join (select distinct role, n_role_slots from numbered)
    cross join range($sampling_silent_candidates) as r(lot)
),
drawn as (
    select feature, role, n_role_slots, number, min(lot) as lot
    from lots
    group by feature, role, n_role_slots, number
),
silent as (
    select d.feature, d.role, d.n_role_slots, d.lot, n.context_id, n.start
    from drawn as d
    join numbered as n on n.role = d.role and n.number = d.number
    anti join active_slots as a on a.feature = d.feature and a.context_id = n.context_id and a.start = n.start
)
select
    s.feature,
    s.role,
    s.context_id,
    s.start,
    row_number() over (partition by s.feature, s.role order by s.lot) as draw,
    s.n_role_slots - coalesce(f.n_active_slots, 0) as n_slots
from silent as s
left join firing as f on f.feature = s.feature and f.role = s.role
qualify draw <= $sampling_silent_draws
