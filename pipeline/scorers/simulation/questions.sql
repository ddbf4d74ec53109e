-- One row per question: how strongly does the feature fire on each token of this test window? Its n_top strongest
-- windows (stratum `top`), n_drawn by draw over the deciles and n_drawn silent ones (`random`); with tokens and
-- the explanation's words.
with windows as (
    select
        feature,
        example_id,
        token_ids,
        draw,
        kind = 'activating' and row_number() over by_strength <= $scoring_simulation_n_top as is_top
    from examples
    where role = 'test'
    window by_strength as (partition by feature, kind = 'activating' order by rank, example_id)
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
        if(windows.is_top, ['top'], []), if(windows.draw <= $scoring_simulation_n_drawn, ['random'], [])
    ) as strata,
    windows.token_ids,
    scored_explanations.explanation
from scored_explanations
join windows using (feature)
where windows.is_top or windows.draw <= $scoring_simulation_n_drawn
order by scored_explanations.feature, scored_explanations.explanation_id, question_id
