-- One row per window that an LLM may read for a feature of batch $batch, rendered: its tokens, and how strongly
-- the feature fires on each (0: not at all).
with rendered as (
    select
        t.*,
        s.n_tokens,
        c.token_ids[t.start + 1 : t.start + s.n_tokens] as token_ids
    from taken_slots as t
    join slots as s using (context_id, start)
    join contexts as c using (context_id)
),
fired as (
    select
        r.feature,
        r.context_id,
        r.start,
        list(a.token_index - r.context_id * $corpus_context_length - r.start) as places,
        list(a.activation) as strengths
    from rendered as r
    join activations as a
        on a.feature = r.feature
        and a.token_index // $corpus_context_length = r.context_id
        and a.token_index - r.context_id * $corpus_context_length - r.start between 0 and r.n_tokens - 1
    where a.feature >= $first_feature and a.feature < $end_feature  -- of the batch: the other files are not read
    group by r.feature, r.context_id, r.start
)
select
    md5(concat_ws(' ', $sae, r.feature, r.context_id, r.start)) as example_id,
    $sae as sae,
    r.feature,
    r.context_id,
    r.start,
    r.peak,
    r.role,
    r.kind,
    r.decile,
    r.rank,
    r.draw,
    r.n_slots,
    r.doc_id,
    r.token_ids,
    list_transform(range(r.n_tokens), lambda place: coalesce(f.strengths[list_position(f.places, place)], 0))
        as activations
from rendered as r
left join fired as f using (feature, context_id, start)
order by r.feature, r.role, r.kind, r.draw
