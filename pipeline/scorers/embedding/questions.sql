-- One row per question: how similar is this test window to the explanation? The activating windows that other
-- scorers ask about, and twice as many silent ones, with their tokens and the explanation's words.
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'embedding', examples.example_id)) as question_id,
    examples.example_id,
    null::int[] as marked,
    examples.kind = 'activating' as label,
    examples.draw,
    examples.token_ids,
    scored_explanations.explanation
from scored_explanations
join examples using (feature)
where
    examples.role = 'test'
    and examples.draw <= if(examples.kind = 'activating', 1, 2) * $scoring_n_questions
order by scored_explanations.feature, scored_explanations.explanation_id, question_id
