-- One row per feature that fires in a candidate slot: its slots, their contexts and documents, by role.
with active_slots as (
    select distinct a.feature, t.role, t.document_number, t.context_id, t.slot_start
    from activations as a
    join corpus_tokens as t using (token_index)
    where t.slot_start is not null
)
select
    feature,
    count(*) filter (role = 'train') as n_slots_train,
    count(*) filter (role = 'test') as n_slots_test,
    count(distinct context_id) filter (role = 'train') as n_contexts_train,
    count(distinct context_id) filter (role = 'test') as n_contexts_test,
    count(distinct document_number) filter (role = 'train') as n_documents_train,
    count(distinct document_number) filter (role = 'test') as n_documents_test
from active_slots
group by feature
