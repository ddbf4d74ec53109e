-- One row per token and per word of the train documents: how often. kind `token`: in letters of one case and
-- without its spaces, n of its occurrences, position 0 left out; `word`: n of the candidate slots in which it stands.
with document_tokens as (
    select
        first_context_id,
        unnest(token_ids) as token_id,
        generate_subscripts(token_ids, 1) - 1 as place
    from documents
    where role = 'train'
),
placed_tokens as (
    select
        first_context_id + place // ($corpus_context_length - $corpus_prepend_bos::int) as context_id,
        place % ($corpus_context_length - $corpus_prepend_bos::int) + $corpus_prepend_bos::int as position,
        token_pieces.piece,
        token_pieces.token
    from document_tokens
    join token_pieces using (token_id)
),
slot_texts as (
    select
        slots.context_id,
        slots.start,
        string_agg(placed_tokens.piece, '' order by placed_tokens.position) as slot_text
    from placed_tokens
    asof join slots
        on slots.context_id = placed_tokens.context_id
        and slots.start <= placed_tokens.position
    where slots.is_candidate and placed_tokens.position < slots.start + slots.n_tokens
    group by slots.context_id, slots.start
),
slot_words as (
    select unnest(list_distinct(regexp_extract_all(lower(slot_text), '\p{L}[\p{L}\p{N}_]+'))) as word
    from slot_texts
)
select 'token' as kind, token as word, count(*) as n
from placed_tokens
where position >= 1
group by token
union all
select 'word' as kind, word, count(*) as n
from slot_words
group by word
order by kind, word
