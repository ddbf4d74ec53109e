-- One row per slot that is used for a feature of the batch, with its stratum's size and its order in the draw.
-- Train: what explainers may be shown. Activating slots that the sampling of some explainer takes; and, where an
-- explainer is shown such, close silent ones, a stratum in turn.
-- Test: what scorers ask about. The first slots of the draw, and the strongest ones; each is taken by properties
-- of the slot alone, so neither moves the other.
-- is_judge: train slots drawn as the test ones are, among those that no explainer is shown. Where an explainer
-- chooses among several explanations, questions about these decide.
-- A scorer that asks about further windows takes them in the `windows.sql` of its folder.
with ordered as (
    select
        *,
        row_number() over (partition by feature order by draw) as turn_by_draw,
        row_number() over (partition by feature, rank <= $sampling_top order by draw) as turn_in_top
    from slots_in_turn
    where role = 'train' and kind = 'activating'
),
placed as (
    -- The order of each train slot in each sampling.
    select
        * exclude (turn_by_draw, turn_in_top),
        {
            'deciles': row_number() over (partition by feature order by turn_in_stratum, draw),
            'top': row_number() over (partition by feature order by rank, draw),
            'top_sample': row_number() over (
                partition by feature order by if(rank <= $sampling_top, turn_in_top, 1000000 + rank), draw
            ),
            'random': row_number() over (partition by feature order by turn_by_draw, draw),
            -- Alternately one of the top and one of all.
            'mixture': row_number() over (
                partition by feature
                order by least(if(rank <= $sampling_top, 2 * turn_in_top, 1000000), 2 * turn_by_draw + 1), draw
            )
        } as places
    from ordered
),
train as (
    select *, row_number() over (partition by feature order by places[$explaining_sampling]) as draw_order
    from placed
    where
        places['deciles'] <= $explaining_n_sampled['deciles']
        or places['top'] <= $explaining_n_sampled['top']
        or places['top_sample'] <= $explaining_n_sampled['top_sample']
        or places['random'] <= $explaining_n_sampled['random']
        or places['mixture'] <= $explaining_n_sampled['mixture']
),
silent_train as (
    select *, row_number() over (partition by feature order by turn_in_stratum, draw) as draw_order
    from slots_in_turn
    where role = 'train' and kind in ('same_token', 'neighbour')
    qualify draw_order <= $explaining_n_silent
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
        row_number() over (partition by feature, kind = 'activating' order by turn_in_stratum, draw) as draw_order
    from slots_in_turn
    anti join shown using (feature, context_id, start)
    where role = 'train'
    qualify draw_order <= $explaining_n_judging
),
taken as (
    select * exclude (draw, n_document_slots, reach), draw_order as draw from shown
    union all by name
    select * exclude (draw, n_document_slots, reach), draw_order as draw from judging
    union all by name
    select *
    from test_slots
    -- Twice as many silent ones: fuzzing's wrong marks need windows to choose from.
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
