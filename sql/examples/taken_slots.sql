-- One row per slot that is taken for a feature of the batch, whoever reads it, with its stratum's size and the
-- place in which a draw takes it.
-- Train: what explainers may be shown, the activating ones that some explainer's sampling takes, and the silent
-- ones that are close, a stratum in turn, where an explainer is shown such. Test: what the scorers ask about, the
-- first by draw, and the strongest; both by the slots alone, so that neither moves the other. is_judge: train
-- slots taken as the test ones are, of those that no explainer is shown; where an explainer chooses among several
-- explanations, questions about them judge. A scorer that asks about others as well takes them itself:
-- `windows.sql` in its folder.
with ordered as (
    select
        *,
        row_number() over (partition by feature order by draw) as place_by_draw,
        row_number() over (partition by feature, rank <= $sampling_top order by draw) as place_in_top
    from slots_in_turn
    where role = 'train' and kind = 'activating'
),
placed as (
    -- The place of each train slot in each sampling.
    select
        * exclude (place_by_draw, place_in_top),
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
    from ordered
),
train as (
    select *, row_number() over (partition by feature order by places[$explaining_sampling]) as place
    from placed
    where
        places['deciles'] <= $explaining_n_sampled['deciles']
        or places['top'] <= $explaining_n_sampled['top']
        or places['top_sample'] <= $explaining_n_sampled['top_sample']
        or places['random'] <= $explaining_n_sampled['random']
        or places['mixture'] <= $explaining_n_sampled['mixture']
),
silent_train as (
    select *, row_number() over (partition by feature order by place_in_stratum, draw) as place
    from slots_in_turn
    where role = 'train' and kind in ('same_token', 'neighbour')
    qualify place <= $explaining_n_silent
),
shown as (
    select *, false as is_judge from train
    union all by name
    select *, false as is_judge from silent_train
),
judging as (
    select
        *,
        true as is_judge,
        row_number() over (partition by feature, kind = 'activating' order by place_in_stratum, draw) as place
    from slots_in_turn
    anti join shown using (feature, context_id, start)
    where role = 'train'
    qualify place <= $explaining_n_judging
),
taken as (
    select * exclude (draw, n_document_slots, reach), place as draw from shown
    union all by name
    select * exclude (draw, n_document_slots, reach), place as draw from judging
    union all by name
    select *
    from test_slots
    -- Of silent ones twice the questions of a side: wrong marks need windows to choose from.
    where
        draw <= if(kind = 'activating', 1, 2) * $scoring_n_questions
        or rank <= $sampling_top_examples
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
    draw,
    places,
    doc_id,
    n_slots,
    n_document_slots,
    reach,
    null::int as neighbour,
    null::int as neighbour_rank,
    null::float as cosine
from taken
