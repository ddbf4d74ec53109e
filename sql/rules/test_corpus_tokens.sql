-- One row per token of the test documents from position 1 on.
select
    c.context_id * $corpus_context_length + generate_subscripts(c.token_ids[2:], 1) as token_index,
    unnest(c.token_ids[2:]) as token_id,
    d.first_context_id as document_number
from contexts as c
join documents as d using (doc_id)
where d.role = 'test'
