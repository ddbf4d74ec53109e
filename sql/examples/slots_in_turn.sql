-- One row per slot that may be drawn for a feature of the batch, with its stratum (a decile of activating slots,
-- or a kind of silent ones) and its turn in the stratum: one slot of each document first, then a second of each.
with candidates as (
    select
        batch_index.feature,
        batch_index.context_id,
        batch_index.start,
        batch_index.n_tokens,
        batch_index.peak,
        batch_index.role,
        coalesce(silent_strata.kind, batch_index.kind) as kind,
        batch_index.decile,
        batch_index.rank,
        batch_index.draw,
        coalesce(silent_strata.n_slots, batch_index.n_slots) as n_slots,
        contexts.doc_id
    from batch_index
    join contexts using (context_id)
    left join silent_strata using (feature, slot)
    where batch_index.draw is not null
),
spread as (
    select *, row_number() over (partition by feature, role, kind, doc_id order by draw) as turn_in_document
    from candidates
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
