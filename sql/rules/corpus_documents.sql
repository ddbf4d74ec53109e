-- One row per document, in the order of the corpus: its role and its tokens from position 1 on.
select
    documents.first_context_id as document_number,
    documents.role,
    coalesce(sum(len(contexts.token_ids) - 1), 0)::bigint as n_tokens
from documents
left join contexts using (doc_id)
group by documents.first_context_id, documents.role
order by document_number
