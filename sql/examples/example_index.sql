-- One row per feature and candidate slot in which it fires that may become an example (silent slots are drawn in
-- silent_strata, for the features that are selected).
select
    $sae as sae,
    kept_slots.side // 2 as feature,
    candidate_slots.context_id,
    candidate_slots.start,
    kept_slots.peak,
    candidate_slots.role::enum('test', 'train') as role,
    kept_slots.decile,
    kept_slots.rank,
    kept_slots.draw,
    kept_slots.n_slots
from kept_slots
join candidate_slots using (slot)
order by kept_slots.side, kept_slots.draw, kept_slots.rank
