-- One row per question: how well does this test window fit the explanation? n_questions activating windows and as
-- many silent ones by draw, with their tokens and the explanation's words. Their order does not depend on the
-- explanation, so two explanations in the same words share one answer.
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'graded', examples.example_id)) as question_id,
    examples.example_id,
    null::int[] as marked,
    null::boolean as label,
    examples.draw,
    examples.token_ids,
    scored_explanations.explanation
from scored_explanations
join examples using (feature)
where examples.role = 'test' and examples.draw <= $scoring_n_questions
order by scored_explanations.feature, scored_explanations.explanation_id, examples.example_id
