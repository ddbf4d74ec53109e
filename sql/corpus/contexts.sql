-- One row per context of a document in shard $shard.
-- A document's tokens are cut every context_length tokens (less one for BOS); the last piece is kept however
-- short.
with windows as (
    select *, unnest(range(0, n_tokens, $corpus_context_length - len($bos_token_id::int[]))) as first_token
    from documents
    where shard = $shard
)
select
    first_context_id + first_token // ($corpus_context_length - len($bos_token_id::int[])) as context_id,
    doc_id,
    shard,
    $bos_token_id::int[] || token_ids[
        first_token + 1 : first_token + $corpus_context_length - len($bos_token_id::int[])
    ] as token_ids
from windows
order by context_id
