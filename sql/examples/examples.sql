-- One row per window that an LLM may read for a feature of batch $batch.
select
    -- concat_ws leaves out a neighbour that is null.
    md5(
        concat_ws(' ', $sae, taken_slots.feature, taken_slots.context_id, taken_slots.start, taken_slots.neighbour)
    ) as example_id,
    $sae as sae,
    taken_slots.feature,
    taken_slots.context_id,
    taken_slots.start,
    taken_slots.peak,
    taken_slots.role,
    taken_slots.is_judge,
    taken_slots.kind,
    taken_slots.decile,
    taken_slots.rank,
    taken_slots.draw,
    taken_slots.places,
    taken_slots.n_slots,
    taken_slots.n_document_slots,
    taken_slots.reach,
    taken_slots.neighbour,
    taken_slots.neighbour_rank,
    taken_slots.cosine,
    taken_slots.doc_id,
    rendered_windows.token_ids,
    rendered_windows.activations,
    (select max(documents.generation) from documents) as generation
from taken_slots
join rendered_windows using (feature, context_id, start)
order by
    taken_slots.feature,
    taken_slots.role,
    taken_slots.kind,
    taken_slots.draw,
    taken_slots.context_id,
    taken_slots.start
