-- One row per context of a document in shard $shard.
-- A document's tokens are cut every context_length tokens (less one for BOS); the last piece is kept however
-- short.
with placed_tokens as (
    -- Slicing a list copies the whole list: for a book, once for each of its contexts.
    select doc_id, first_context_id, unnest(token_ids) as token_id, unnest(range(n_tokens)) as place
    from documents
    where shard = $shard
)
select
    first_context_id + place // ($corpus_context_length - len($bos_token_id::int[])) as context_id,
    any_value(doc_id) as doc_id,
    $shard::int as shard,
    $bos_token_id::int[] || list(token_id order by place) as token_ids
from placed_tokens
group by context_id
order by context_id
