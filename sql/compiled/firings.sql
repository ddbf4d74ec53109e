-- One row per firing, with what stands at its place. begins_slot: it is the feature's first firing in this
-- candidate slot; begins_context and begins_document: in any candidate slot of the context, of the document.
-- Rows made by pipeline/firings/buckets.py: read_bucket
with placed as (
    select
        a.feature,
        a.token_index,
        t.position::int as position,
        a.activation,
        t.role = 'train' as is_train,
        t.token_id,
        t.previous_token_id,
        t.slot,
        t.context_id,
        t.document_number
    from activations as a
    join corpus_tokens as t using (token_index)
)
select
    feature,
    position,
    activation,
    is_train,
    token_id,
    previous_token_id,
    slot,
    slot is not null
        and row_number() over (partition by feature, slot order by token_index) = 1 as begins_slot,
    slot is not null
        and row_number() over (partition by feature, context_id, slot is null order by token_index) = 1
        as begins_context,
    slot is not null
        and row_number() over (partition by feature, document_number, slot is null order by token_index) = 1
        as begins_document
from placed
order by feature, token_index
