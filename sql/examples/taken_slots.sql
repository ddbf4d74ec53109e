-- One row per slot that is taken for a feature of the batch, with its stratum's size and the place in which it
-- is taken. Train: what explainers may be shown, the activating ones that some explainer's sampling takes, and the
-- silent ones that are close, a stratum in turn, where an explainer is shown such. Test: what the scorers ask
-- about, activating slots a decile in turn and silent ones a stratum in turn, distinct documents first (or silent
-- ones by draw from all, where $scoring_silent is random); and where a scorer asks about them, slots of near
-- neighbours, which are not drawn and have no place. is_judge: train slots taken as the test ones are, of those
-- that no explainer is shown; where an explainer chooses among several explanations, questions about them judge.
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
        row_number() over (partition by feature, role, kind, rank <= $sampling_top order by draw) as place_in_top,
        count(*) over (partition by feature, role, kind, doc_id) as n_document_slots,
        -- The last slot of its place in the stratum ends the round that takes these.
        if(
            lead(draw) over (partition by feature, role, kind, decile, place_in_document order by draw) is null,
            place_in_document,
            place_in_document - 1
            + (row_number() over (partition by feature, role, kind, decile order by draw) - 0.5)
            / count(*) over (partition by feature, role, kind, decile)
        ) as reach
    from spread
),
placed as (
    -- The place of each train slot in each sampling.
    select
        *,
        {
            'deciles': row_number() over (partition by feature order by place_in_stratum, draw),
            'top': row_number() over (partition by feature order by rank, draw),
            'top_sample': row_number() over (
                partition by feature order by if(rank <= $sampling_top, place_in_top, 1000000 + rank), draw
            ),
            'random': row_number() over (partition by feature order by place_by_draw, draw),
            -- Every second one from the top, every second one from all.
            'mixture': row_number() over (
                partition by feature
                order by least(if(rank <= $sampling_top, 2 * place_in_top, 1000000), 2 * place_by_draw + 1), draw
            )
        } as places
    from in_stratum
    where role = 'train' and kind = 'activating'
),
train as (
    select
        *,
        row_number() over (partition by feature order by places[$explaining_sampling]) as place,
        false as is_judge
    from placed
    where
        places['deciles'] <= $explaining_n_sampled['deciles']
        or places['top'] <= $explaining_n_sampled['top']
        or places['top_sample'] <= $explaining_n_sampled['top_sample']
        or places['random'] <= $explaining_n_sampled['random']
        or places['mixture'] <= $explaining_n_sampled['mixture']
),
silent_train as (
    select
        *,
        null as places,
        row_number() over (partition by feature order by place_in_stratum, draw) as place,
        false as is_judge
    from in_stratum
    where role = 'train' and kind in ('same_token', 'neighbour')
    qualify place <= $explaining_n_silent
),
shown as (
    select * from train
    union all
    select * from silent_train
),
judging as (
    select
        *,
        null as places,
        row_number() over (partition by feature, kind = 'activating' order by place_in_stratum, draw) as place,
        true as is_judge
    from in_stratum
    anti join shown using (feature, context_id, start)
    where role = 'train'
    qualify place <= $explaining_n_judging
),
test as (
    select
        *,
        null as places,
        row_number() over (
            partition by feature, kind = 'activating'
            order by if(kind = 'activating' or $scoring_silent = 'strata', place_in_stratum, 0), draw
        ) as place,
        false as is_judge
    from in_stratum
    where role = 'test'
    -- Of silent ones twice the questions of a side: wrong marks need windows to choose from.
    qualify place <= if(kind = 'activating', $scoring_n_windows, 2 * $scoring_n_questions)
),
taken as (
    select * from shown
    union all
    select * from judging
    union all
    select * from test
),
with_neighbours as (
    -- A window of a neighbour may have been drawn as well.
    select taken.*, neighbour_slots.neighbour, neighbour_slots.neighbour_rank, neighbour_slots.cosine
    from taken
    left join neighbour_slots using (feature, context_id, start)
    union all by name
    select neighbour_slots.*, 'test' as role, false as is_judge, 'neighbour' as kind, contexts.doc_id
    from neighbour_slots
    join contexts using (context_id)
    anti join taken using (feature, context_id, start)
)
select
    feature,
    context_id,
    start,
    n_tokens,
    peak,
    role,
    is_judge,
    kind,
    decile,
    rank,
    place as draw,
    places,
    doc_id,
    n_slots,
    if(role = 'test' and place is not null, n_document_slots, null) as n_document_slots,
    if(role = 'test' and place is not null and (kind = 'activating' or $scoring_silent = 'strata'), reach, null)
        as reach,
    neighbour,
    neighbour_rank,
    cosine
from with_neighbours
