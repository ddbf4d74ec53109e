-- One row per candidate slot, numbered along the corpus.
select
    (row_number() over (order by slots.context_id, slots.start) - 1)::int as slot,
    slots.context_id,
    slots.start,
    slots.n_tokens,
    slots.role,
    documents.first_context_id as document_number
from slots
join documents using (doc_id)
where slots.is_candidate
order by slot
