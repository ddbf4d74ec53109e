-- One row per token to verify and repeat: a text of random tokens with the token at a random position, never the
-- first.
-- A text depends only on (seed, token, repeat). So it serves every candidate of every SAE that has the token, SAEs
-- are compared on the same texts, and there are at most `repeats` texts per token of the vocabulary.
with positions as (
    select
        token_id,
        unnest(range($scrambling_repeats)) as repeat,
        1 + (draw_hash($seed, (token_id, repeat, 'place')) % $scrambling_n_fillers::ubigint)::int as position
    from (select distinct token_id from unigram_tokens)
),
weights as (
    select
        token_id,
        if($scrambling_fillers = 'corpus', coalesce(n_tokens, 0), 1) as weight,
        sum(weight) over (order by token_id)::ubigint as total
    from tokens
    left join train_tokens using (token_id)
    where not is_special
),
intervals as (
    select token_id as filler, total - weight as lowest
    from weights
    where weight > 0
),
draws as (
    select
        token_id,
        repeat,
        number,
        draw_hash($seed, (token_id, repeat, number, 'filler')) % (select max(total) from weights) as drawn
    from positions, range($scrambling_n_fillers) as numbers (number)
),
filled as (
    select token_id, repeat, list(filler order by number) as fillers
    from draws
    asof join intervals on draws.drawn >= intervals.lowest
    group by token_id, repeat
)
select
    row_number() over (order by token_id, repeat) - 1 as context_id,
    token_id,
    len($bos_token_id::int[]) + position as place,
    $bos_token_id::int[] || fillers[:position] || [token_id] || fillers[position + 1:] as token_ids
from positions
join filled using (token_id, repeat)
