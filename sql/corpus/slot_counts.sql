-- One row: slots, how many test slots are copied from train documents, and tokens left out of every slot.
select
    (select count(*) from slots) as slots,
    (select count(*) from slots where is_copied) as copied_test_slots,
    (select count(*) from slots where role = 'test') as test_slots,
    (select sum(n_tokens) from documents)::bigint - coalesce((select sum(n_tokens) from slots), 0)::bigint as tokens_in_no_slot
