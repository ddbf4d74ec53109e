-- One row per slot that may be drawn for a feature of the batch, with its stratum (a decile of activating slots,
-- or a kind of silent ones) and its turn in the stratum: one slot of each document first, then a second of each.
with candidates as (
    select feature, slot, 'activating' as kind, peak, decile, rank, draw, n_slots
    from batch_index
    where draw is not null
    union all by name
    select * from silent_strata
),
placed as (
    select
        candidates.* exclude (slot),
        candidate_slots.context_id,
        candidate_slots.start,
        candidate_slots.n_tokens,
        candidate_slots.role,
        contexts.doc_id
    from candidates
    join candidate_slots using (slot)
    join contexts using (context_id)
),
spread as (
    select *, row_number() over (partition by feature, role, kind, doc_id order by draw) as turn_in_document
    from placed
)
select
    *,
    row_number() over (partition by feature, role, kind, decile order by turn_in_document, draw)
        as turn_in_stratum,
    count(*) over (partition by feature, role, kind, doc_id) as n_document_slots,
    -- The last slot of a round (one slot per document) has the round's number as its reach.
    if(
        lead(draw) over (partition by feature, role, kind, decile, turn_in_document order by draw) is null,
        turn_in_document,
        turn_in_document - 1
        + (row_number() over (partition by feature, role, kind, decile order by draw) - 0.5)
        / count(*) over (partition by feature, role, kind, decile)
    ) as reach
from spread
