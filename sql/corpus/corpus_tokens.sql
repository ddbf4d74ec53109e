-- One row per token of the corpus, with its document's role and the candidate slot that it lies in, if any.
-- At position 0 there is no token before.
with placed_tokens as (
    select
        c.context_id,
        d.first_context_id as document_number,
        d.role,
        unnest(c.token_ids) as token_id,
        unnest([null::int] || c.token_ids[:-2]) as previous_token_id,
        generate_subscripts(c.token_ids, 1) - 1 as position
    from contexts as c
    join documents as d using (doc_id)
),
slot_tokens as (
    select slot, context_id, start, unnest(range(start, start + n_tokens)) as position
    from candidate_slots
)
select
    t.context_id * $corpus_context_length + t.position as token_index,
    t.*,
    s.slot,
    s.start as slot_start
from placed_tokens as t
left join slot_tokens as s on s.context_id = t.context_id and s.position = t.position
