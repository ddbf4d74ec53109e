-- One row per candidate slot of a feature that a draw may take: of the activating ones the strongest train
-- slots and the first of each role and decile in hash order, and the silent ones that were drawn.
-- decile: 10 - floor(10 (rank - 1) / n), so 10 holds the strongest peaks; ties fall by hash.
with ranked as (
    select
        *,
        row_number() over (partition by feature, role order by peak desc, lot, context_id, start) as rank,
        count(*) over (partition by feature, role) as n_role_slots,
        row_number() over (partition by feature, role order by lot, context_id, start) as draw
    from active_slots
),
deciled as (
    select *, 10 - (rank - 1) * 10 // n_role_slots as decile
    from ranked
),
counted as (
    select
        *,
        count(*) over (partition by feature, role, decile) as n_slots,
        row_number() over (partition by feature, role, decile order by draw) as decile_draw
    from deciled
)
select
    $sae as sae,
    feature,
    context_id,
    start,
    peak,
    role,
    'activating' as kind,
    decile,
    rank,
    draw,
    n_slots
from counted
where decile_draw <= $sampling_draws_per_decile or (role = 'train' and rank <= $sampling_top)
union all
select $sae, feature, context_id, start, null, role, 'silent', null, null, draw, n_slots
from silent_slots
order by feature, role, kind, draw
