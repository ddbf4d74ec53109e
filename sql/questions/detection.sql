-- One row per detection question: does the feature fire somewhere in this test window?
-- n_questions activating windows and as many silent ones; `draw` is the place in which a window is taken.
select
    e.explanation_id,
    e.feature,
    md5(concat_ws(' ', e.explanation_id, 'detection', x.example_id)) as question_id,
    x.example_id,
    null::int[] as marked,
    x.kind = 'activating' as label,
    x.draw
from scored_explanations as e
join examples as x using (feature)
where x.role = 'test' and x.draw <= $scoring_n_questions
order by e.feature, e.explanation_id, question_id
