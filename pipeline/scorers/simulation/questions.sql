-- One row per question: how strongly does the feature fire on each token of this test window? Its n_top strongest
-- test windows (stratum `top`), n_drawn windows by draw over the deciles and n_drawn silent ones (`random`), with
-- their tokens and the explanation's words. A window may be in both strata.
with windows as (
    select
        feature,
        example_id,
        token_ids,
        draw,
        coalesce(rank <= $scoring_simulation_n_top, false) as is_top,
        coalesce(draw <= least($scoring_simulation_n_drawn, $scoring_n_questions), false) as is_drawn
    from examples
    where role = 'test' and (is_top or is_drawn)
)
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'simulation', windows.example_id)) as question_id,
    windows.example_id,
    null::int[] as marked,
    null::boolean as label,
    windows.draw,
    list_concat(
        if(windows.is_top, ['top'], []), if(windows.is_drawn, ['random'], [])
    ) as strata,
    windows.token_ids,
    scored_explanations.explanation
from scored_explanations
join windows using (feature)
order by scored_explanations.feature, scored_explanations.explanation_id, question_id
