-- One row per token of the corpus, with its document's role and the candidate slot that it lies in, if any. The
-- token at position 0 has no previous token.
with placed_tokens as (
    select
        contexts.context_id,
        documents.first_context_id as document_number,
        documents.role,
        unnest(contexts.token_ids) as token_id,
        unnest([null::int] || contexts.token_ids[:-2]) as previous_token_id,
        generate_subscripts(contexts.token_ids, 1) - 1 as position
    from contexts
    join documents using (doc_id)
),
slot_tokens as (
    select slot, context_id, start, unnest(range(start, start + n_tokens)) as position
    from candidate_slots
)
select
    placed_tokens.context_id * $corpus_context_length + placed_tokens.position as token_index,
    placed_tokens.*,
    slot_tokens.slot,
    slot_tokens.start as slot_start
from placed_tokens
left join slot_tokens
    on slot_tokens.context_id = placed_tokens.context_id
    and slot_tokens.position = placed_tokens.position
