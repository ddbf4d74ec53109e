-- One row per window that an LLM may read for a feature of batch $batch.
select
    md5(concat_ws(' ', $sae, t.feature, t.context_id, t.start)) as example_id,
    $sae as sae,
    t.feature,
    t.context_id,
    t.start,
    t.peak,
    t.role,
    t.kind,
    t.decile,
    t.rank,
    t.draw,
    t.places,
    t.n_slots,
    t.doc_id,
    w.token_ids,
    w.activations
from taken_slots as t
join rendered_windows as w using (feature, context_id, start)
order by t.feature, t.role, t.kind, t.draw
