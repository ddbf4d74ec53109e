-- One row per token and per word of the train documents: how often. kind `token`: in lower case without its
-- spaces, n counts its occurrences, position 0 left out. kind `word`: n counts the candidate slots that contain
-- it.
with widths as (
    select $corpus_context_length - $corpus_prepend_bos::int as width, $corpus_prepend_bos::int as n_before
),
placed_tokens as (
    select
        first_context_id + doc_position // width as context_id,
        doc_position % width + n_before as position,
        token_id
    from (
        select first_context_id, unnest(token_ids) as token_id, unnest(range(n_tokens)) as doc_position
        from documents
        where role = 'train'
    )
    cross join widths
),
context_tokens as (
    -- A slot is cut from its context: from its document, that would copy the document for each slot.
    select context_id, list(token_id order by position) as token_ids
    from placed_tokens
    group by context_id
),
slot_tokens as (
    select
        slots.context_id,
        slots.start,
        unnest(context_tokens.token_ids[slots.start - n_before + 1 : slots.start - n_before + slots.n_tokens])
            as token_id,
        unnest(range(slots.n_tokens)) as slot_position
    from slots
    join context_tokens using (context_id)
    cross join widths
    where slots.role = 'train' and slots.is_candidate
),
slot_texts as (
    select
        slot_tokens.context_id,
        slot_tokens.start,
        string_agg(token_pieces.piece, '' order by slot_tokens.slot_position) as slot_text
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
where placed_tokens.position > 0
group by token_pieces.token
union all
select 'word' as kind, word, count(*) as n
from slot_words
group by word
order by kind, word
