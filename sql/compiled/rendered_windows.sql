-- One row per taken slot: its tokens, and the feature's activation on each (0 where it does not fire).
-- Rows made by pipeline/compiled/rendering.py: rendered_windows
with placed as (
    select
        taken_slots.feature,
        taken_slots.context_id,
        taken_slots.start,
        taken_slots.n_tokens,
        contexts.token_ids[taken_slots.start + 1 : taken_slots.start + taken_slots.n_tokens] as token_ids
    from taken_slots
    join contexts using (context_id)
),
fired as (
    select
        placed.feature,
        placed.context_id,
        placed.start,
        list(activations.token_index - placed.context_id * $corpus_context_length - placed.start) as places,
        list(activations.activation) as strengths
    from placed
    join activations
        on activations.feature = placed.feature
        and activations.token_index // $corpus_context_length = placed.context_id
        and activations.token_index - placed.context_id * $corpus_context_length - placed.start
        between 0 and placed.n_tokens - 1
    group by placed.feature, placed.context_id, placed.start
)
select
    placed.feature,
    placed.context_id,
    placed.start,
    placed.token_ids,
    list_transform(
        range(placed.n_tokens), lambda place: coalesce(fired.strengths[list_position(fired.places, place)], 0)
    ) as activations
from placed
left join fired using (feature, context_id, start)
