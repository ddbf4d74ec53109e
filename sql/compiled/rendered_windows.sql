-- One row per taken slot, rendered: its tokens, and how strongly the feature fires on each (0: not at all).
-- Rows made by pipeline/compiled/rendering.py: rendered_windows
with placed as (
    select t.feature, t.context_id, t.start, t.n_tokens, c.token_ids[t.start + 1 : t.start + t.n_tokens] as token_ids
    from taken_slots as t
    join contexts as c using (context_id)
),
fired as (
    select
        p.feature,
        p.context_id,
        p.start,
        list(a.token_index - p.context_id * $corpus_context_length - p.start) as places,
        list(a.activation) as strengths
    from placed as p
    join activations as a
        on a.feature = p.feature
        and a.token_index // $corpus_context_length = p.context_id
        and a.token_index - p.context_id * $corpus_context_length - p.start between 0 and p.n_tokens - 1
    group by p.feature, p.context_id, p.start
)
select
    p.feature,
    p.context_id,
    p.start,
    p.token_ids,
    list_transform(range(p.n_tokens), lambda place: coalesce(f.strengths[list_position(f.places, place)], 0))
        as activations
from placed as p
left join fired as f using (feature, context_id, start)
