-- One row per candidate slot, numbered along the corpus, and along its role's slots (number).
select
    (row_number() over (order by slots.context_id, slots.start) - 1)::int as slot,
    (row_number() over (partition by slots.role order by slots.context_id, slots.start) - 1)::int as number,
    slots.context_id,
    slots.start,
    slots.n_tokens,
    slots.role,
    documents.first_context_id as document_number
from slots
join documents using (doc_id)
where slots.is_candidate
order by slot
