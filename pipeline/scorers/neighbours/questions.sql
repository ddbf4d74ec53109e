-- One row per question: does the feature fire somewhere in this test window? The activating windows of detection,
-- and as many windows of its near neighbours in which it does not fire, neighbour by neighbour in turn.
-- strata of the latter: the neighbour's rank, its cosine, and whether it fires on the same tokens more often than
-- by chance.
with silent as (
    select
        examples.feature,
        examples.example_id,
        row_number() over (
            partition by examples.feature, examples.neighbour order by draw_hash($seed, row(examples.example_id))
        ) as turn,
        examples.neighbour_rank,
        [
            'rank ' || examples.neighbour_rank,
            format('cosine {:.1f} to {:.1f}', floor(10 * cosine) / 10, (floor(10 * cosine) + 1) / 10),
            if(feature_cofirings.other is null, 'not cofiring', 'cofiring')
        ] as strata
    from examples
    left join feature_cofirings
        on feature_cofirings.sae = $sae
        and feature_cofirings.feature = examples.feature
        and feature_cofirings.other = examples.neighbour
    where examples.neighbour is not null
),
windows as (
    select feature, example_id, false as label, strata, row_number() over by_feature as draw
    from silent
    window by_feature as (partition by feature order by turn, neighbour_rank)
    union all by name
    select feature, example_id, true as label, draw
    from examples
    where role = 'test' and kind = 'activating'
)
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'neighbours', windows.example_id)) as question_id,
    windows.example_id,
    null::int[] as marked,
    windows.label,
    windows.draw,
    windows.strata
from scored_explanations
join windows using (feature)
where windows.draw <= $scoring_n_questions
order by scored_explanations.feature, scored_explanations.explanation_id, question_id
