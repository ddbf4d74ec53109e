-- One row per token of the test documents from position 1 on.
select
    contexts.context_id * $corpus_context_length + generate_subscripts(contexts.token_ids[2:], 1) as token_index,
    unnest(contexts.token_ids[2:]) as token_id,
    documents.first_context_id as document_number
from contexts
join documents using (doc_id)
where documents.role = 'test'
