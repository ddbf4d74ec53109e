-- One row per candidate slot, numbered along the corpus, and along its role's slots (number).
select
    (row_number() over (order by s.context_id, s.start) - 1)::int as slot,
    (row_number() over (partition by s.role order by s.context_id, s.start) - 1)::int as number,
    s.context_id,
    s.start,
    s.n_tokens,
    s.role,
    d.first_context_id as document_number
from slots as s
join documents as d using (doc_id)
where s.is_candidate
order by slot
