-- One row per document drawn by hash to try SAEs on: its first tokens. Short documents come last.
select token_ids[:$fit_tokens::int] as token_ids
from documents
order by least(n_tokens, $fit_tokens::int) desc, hash($seed::bigint, doc_id, 'fit'), doc_id
limit $fit_documents::int
