-- One row per detection question: does the feature fire somewhere in this test window?
-- There are n_questions activating windows and as many silent ones, or n_no_questions of these; `draw` is the
-- place in which a window is taken.
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'detection', examples.example_id)) as question_id,
    examples.example_id,
    null::int[] as marked,
    examples.kind = 'activating' as label,
    examples.draw
from scored_explanations
join examples using (feature)
where
    examples.role = 'test'
    and examples.draw <= if(examples.kind = 'activating', $scoring_n_questions, $scoring_n_noes)
order by scored_explanations.feature, scored_explanations.explanation_id, question_id
