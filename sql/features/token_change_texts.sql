-- One row per text on which features are set: the first tokens of a context of a train document, drawn by hash.
with drawn as (
    select
        contexts.context_id,
        contexts.token_ids[: $explaining_output_centric_n_text_tokens] as token_ids,
        row_number() over (
            order by draw_hash($seed, (contexts.context_id, 'token changes')), contexts.context_id
        ) as number
    from contexts
    join documents using (doc_id)
    where documents.role = 'train' and len(contexts.token_ids) >= $explaining_output_centric_n_text_tokens
)
select context_id, token_ids
from drawn
where number <= $explaining_output_centric_n_texts
order by number
