-- One row per document drawn by hash to try SAEs on: its first tokens, and the quarter of them drawn to screen
-- what is tried. Short documents come last.
select
    list_slice(token_ids, 1, $fit_tokens::int) as token_ids,
    list_transform(
        range(least(n_tokens, $fit_tokens::int)),
        lambda position: draw_hash($seed, (doc_id, position, 'screen')) < power(2, 62)
    ) as is_screened
from documents
order by least(n_tokens, $fit_tokens::int) desc, draw_hash($seed, (doc_id, 'fit')), doc_id
limit $fit_documents::int
