-- One row per firing, with its token's place in the corpus. begins_slot: it is the feature's first firing in this
-- candidate slot; begins_context and begins_document: the first in any candidate slot of the context, of the
-- document.
-- Rows made by pipeline/firings/buckets.py: read_bucket
with placed as (
    select
        activations.feature,
        activations.token_index,
        corpus_tokens.position::int as position,
        activations.activation,
        corpus_tokens.role = 'train' as is_train,
        corpus_tokens.token_id,
        corpus_tokens.previous_token_id,
        corpus_tokens.slot,
        corpus_tokens.context_id,
        corpus_tokens.document_number
    from activations
    join corpus_tokens using (token_index)
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
