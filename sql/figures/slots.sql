-- One row per figure of slots: the number of slots, of test slots, and of test slots copied from train documents;
-- and the tokens in no slot.
select
    unnest(['slots', 'copied_test_slots', 'test_slots', 'tokens_in_no_slot']) as figure,
    unnest([
        count(*), count(*) filter (is_copied), count(*) filter (role = 'test'),
        (select coalesce(sum(n_tokens), 0) from documents)::bigint - coalesce(sum(n_tokens), 0)::bigint
    ]) as value
from slots
