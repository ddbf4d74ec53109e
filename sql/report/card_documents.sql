-- One row per role of documents: their number, and their tokens.
select role, count(*) as n_documents, sum(n_tokens)::bigint as n_tokens
from documents
group by role
order by role
