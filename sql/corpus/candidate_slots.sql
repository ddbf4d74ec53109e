-- One row per candidate slot. slot numbers them along the corpus; number along all slots of the role, copied ones
-- included, and does not change when documents are added.
with numbered as (
    select *, row_number() over (partition by role order by context_id, start) - 1 as number
    from slots
)
select
    (row_number() over (order by numbered.context_id, numbered.start) - 1)::int as slot,
    numbered.number::int as number,
    numbered.context_id,
    numbered.start,
    numbered.n_tokens,
    numbered.role,
    documents.first_context_id as document_number
from numbered
join documents using (doc_id)
where numbered.is_candidate
order by slot
