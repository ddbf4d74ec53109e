-- One row per token among which co-firings are counted: all after position 0, or, where there are more than
-- $heuristics_cofiring_firings firings, a share of the tokens with about so many, drawn by hash.
with counted as (
    select least(1, $heuristics_cofiring_firings / greatest(count(*), 1)) as share from activations
),
placed as (
    select context_id * $corpus_context_length + unnest(range(1, len(token_ids))) as token_index
    from contexts
)
select placed.token_index
from placed
cross join counted
where
    counted.share >= 1
    or draw_hash($seed, ($sae, placed.token_index, 'cofiring')) < counted.share * power(2, 64)
order by placed.token_index
