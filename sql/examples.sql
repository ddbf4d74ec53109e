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
places as (
    select feature, context_id, start, unnest(range(n_tokens)) as place from rendered
),
strengths as (
    select
        p.feature,
        p.context_id,
        p.start,
        list(coalesce(a.activation, 0) order by p.place) as activations
    from places as p
    left join activations as a
        on a.feature = p.feature
        and a.token_index = p.context_id * $corpus_context_length + p.start + p.place
    group by p.feature, p.context_id, p.start
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
    s.activations
from rendered as r
join strengths as s using (feature, context_id, start)
order by r.feature, r.role, r.kind, r.draw
