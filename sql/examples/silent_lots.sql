-- One row per candidate slot: the hash that orders the draws of silent slots (lot). For a feature, a slot's lot is
-- hash(xor(lot, feature)), so each feature draws in an order of its own, and documents added to the corpus move no
-- slot before another.
select slot, draw_hash($seed, ($sae, context_id, start, 'silent')) as lot
from candidate_slots
order by slot
