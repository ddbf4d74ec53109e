-- One row per test slot that may be an example of a feature of the batch, with the place in which a draw takes it:
-- activating ones a decile in turn, silent ones a stratum in turn, distinct documents first (or silent ones by
-- draw from all, where $scoring_silent is random). Slots that the index keeps for their strength alone have no
-- place.
select
    feature,
    context_id,
    start,
    n_tokens,
    peak,
    role,
    false as is_judge,
    kind,
    decile,
    rank,
    row_number() over (
        partition by feature, kind = 'activating'
        order by if(kind = 'activating' or $scoring_silent = 'strata', place_in_stratum, 0), draw
    ) as draw,
    doc_id,
    n_slots,
    n_document_slots,
    if(kind = 'activating' or $scoring_silent = 'strata', reach, null) as reach
from slots_in_turn
where role = 'test'
union all by name
select
    batch_index.feature,
    batch_index.context_id,
    batch_index.start,
    batch_index.n_tokens,
    batch_index.peak,
    batch_index.role,
    false as is_judge,
    batch_index.kind,
    batch_index.decile,
    batch_index.rank,
    null as draw,
    contexts.doc_id,
    batch_index.n_slots,
    null as n_document_slots,
    null as reach
from batch_index
join contexts using (context_id)
where batch_index.role = 'test' and batch_index.draw is null
