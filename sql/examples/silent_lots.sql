-- One row per feature, role and lot: the candidate slot that the lot draws by hash, to be checked for silence.
-- Every slot of the role is equally likely. Of N slots up to and including a generation, n of them the
-- generation's own, the generation claims a lot with probability n / N; the last generation decides first. So
-- where documents are added, a lot either keeps its slot or moves to a slot of the new documents.
-- (The remainder is of two ubigint: with a signed number it would be of 128 bits, and five times slower.)
with drawn as (
    select
        2 * feature + (role = 'train')::int as side,
        lot,
        role,
        generation,
        n_slots,
        n_so_far - n_slots as n_before,
        draw_hash($seed, ($sae, feature, role, lot, generation, 'silent')) % n_so_far as slot_number
    from (select distinct feature from slot_peaks)
    cross join slot_generations
    cross join range($sampling_silent_candidates) as candidates (lot)
),
lots as (
    select side, lot, any_value(role) as role, arg_max((n_before + slot_number)::int, generation) as number
    from drawn
    where slot_number < n_slots
    group by side, lot
)
select side, lot, slot
from lots
join candidate_slots using (role, number)
