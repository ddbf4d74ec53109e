-- One row per feature, role and lot: the candidate slot that the lot draws by hash, to see whether it is silent.
-- (The remainder is of two ubigint: with a signed number it would be of 128 bits, and five times slower.)
with roles as (
    select role, count(*)::ubigint as n_role_slots from candidate_slots group by role
),
lots as (
    select
        2 * feature + (role = 'train')::int as side,
        lot,
        role,
        hash($seed::bigint, $sae::varchar, feature::int, role, lot::int, 'silent') % n_role_slots as number
    from (select distinct feature from slot_peaks)
    cross join roles
    cross join range($sampling_silent_candidates) as candidates (lot)
)
select side, lot, slot
from lots
join candidate_slots using (role, number)
