-- One row per slot that is taken for a feature of the batch, with its stratum's size and the place in which it
-- is taken. Train: what the explainer may be shown, by the sampling of the config. Test: what the scorers ask
-- about, activating slots a decile in turn and silent ones a stratum in turn, distinct documents first.
with candidates as (
    select
        batch_index.feature,
        batch_index.context_id,
        batch_index.start,
        batch_index.peak,
        batch_index.role,
        coalesce(silent_strata.kind, batch_index.kind) as kind,
        batch_index.decile,
        batch_index.rank,
        batch_index.draw,
        coalesce(silent_strata.n_slots, batch_index.n_slots) as n_slots,
        contexts.doc_id,
        batch_index.n_tokens
    from batch_index
    join contexts using (context_id)
    left join silent_strata using (feature, slot)
),
spread as (
    select *, row_number() over (partition by feature, role, kind, doc_id order by draw) as place_in_document
    from candidates
),
in_stratum as (
    select
        *,
        row_number() over (partition by feature, role, kind, decile order by place_in_document, draw)
            as place_in_stratum,
        row_number() over (partition by feature, role, kind order by draw) as place_by_draw,
        row_number() over (partition by feature, role, kind, rank <= $sampling_top order by draw) as place_in_top
    from spread
),
train as (
    select
        *,
        row_number() over (
            partition by feature
            order by
                case $explaining_sampling
                    when 'top' then rank
                    when 'random' then place_by_draw
                    when 'top_sample' then if(rank <= $sampling_top, place_in_top, 1000000 + rank)
                    -- Every second one from the top, every second one from all.
                    when 'mixture'
                    then least(if(rank <= $sampling_top, 2 * place_in_top, 1000000), 2 * place_by_draw + 1)
                    else place_in_stratum
                end,
                draw
        ) as place
    from in_stratum
    where role = 'train' and kind = 'activating'
    qualify place <= $explaining_n_examples
),
test as (
    select
        *,
        row_number() over (partition by feature, kind = 'activating' order by place_in_stratum, draw) as place
    from in_stratum
    where role = 'test'
    -- Twice the questions of a side: wrong marks need windows to choose from.
    qualify place <= if(kind = 'activating', 1, 2) * $scoring_n_questions
),
taken as (
    select * from train
    union all
    select * from test
)
select feature, context_id, start, n_tokens, peak, role, kind, decile, rank, place as draw, doc_id, n_slots
from taken
