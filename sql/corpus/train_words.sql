-- One row per token and per word of the train documents: how often. kind `token`: in lower case without its
-- spaces, n counts its occurrences, position 0 left out. kind `word`: n counts the candidate slots that contain
-- it.
with widths as (
    select $corpus_context_length - $corpus_prepend_bos::int as width, $corpus_prepend_bos::int as n_before
),
placed_tokens as (
    -- Without position 0 of each context.
    select token_id
    from (
        select unnest(token_ids) as token_id, unnest(range(len(token_ids))) as place
        from documents
        where role = 'train'
    )
    cross join widths
    where place % width + n_before > 0
),
slot_tokens as (
    select
        slots.context_id,
        slots.start,
        (slots.context_id - documents.first_context_id) * width + slots.start - n_before as first,
        unnest(documents.token_ids[first + 1 : first + slots.n_tokens]) as token_id,
        unnest(range(slots.n_tokens)) as place
    from slots
    join documents using (doc_id)
    cross join widths
    where slots.role = 'train' and slots.is_candidate
),
slot_texts as (
    select
        slot_tokens.context_id,
        slot_tokens.start,
        string_agg(token_pieces.piece, '' order by slot_tokens.place) as slot_text
    from slot_tokens
    join token_pieces using (token_id)
    group by slot_tokens.context_id, slot_tokens.start
),
slot_words as (
    select unnest(words_of(slot_text)) as word
    from slot_texts
)
select 'token' as kind, token_pieces.token as word, count(*) as n
from placed_tokens
join token_pieces using (token_id)
group by token_pieces.token
union all
select 'word' as kind, word, count(*) as n
from slot_words
group by word
order by kind, word
