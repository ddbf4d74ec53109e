-- One row per activating test slot, beyond the first ones that all scorers read, from which a question is made:
-- the next ones of the same draw.
select * from taken_slots where false
union all by name
select test_slots.*
from test_slots
anti join taken_slots using (feature, context_id, start)
where test_slots.kind = 'activating' and test_slots.draw <= $scoring_intruder_n_windows
