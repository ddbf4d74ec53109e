-- One row per token among which co-firings are counted: all after position 0, or a share $share of them drawn by
-- hash.
with placed as (
    select context_id * $corpus_context_length + unnest(range(1, len(token_ids))) as token_index
    from contexts
)
select token_index
from placed
where $share >= 1 or hash($seed::bigint, $sae::varchar, token_index::bigint, 'cofiring') < $share * power(2, 64)
order by token_index
