-- One row per document drawn by hash to try SAEs on: its first tokens, and the quarter of them drawn to screen
-- what is tried. Short documents come last. With a BOS, which is tried, too, a text is no longer than a context.
with first_tokens as (
    select doc_id, list_slice(token_ids, 1, least($fit_tokens::int, $corpus_context_length - 1)) as token_ids
    from documents
)
select
    token_ids,
    list_transform(
        range(len(token_ids)), lambda position: draw_hash($seed, (doc_id, position, 'screen')) < power(2, 62)
    ) as is_screened
from first_tokens
order by len(token_ids) desc, draw_hash($seed, (doc_id, 'fit')), doc_id
limit $fit_documents::int
