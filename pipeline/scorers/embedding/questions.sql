-- One row per question: how like is this test window to the explanation? Every test window of the feature's examples,
-- with its tokens and the explanation's words.
select
    e.explanation_id,
    e.feature,
    md5(concat_ws(' ', e.explanation_id, 'embedding', x.example_id)) as question_id,
    x.example_id,
    null::int[] as marked,
    x.kind = 'activating' as label,
    x.draw,
    x.token_ids,
    e.explanation
from scored_explanations as e
join examples as x using (feature)
where x.role = 'test'
order by e.feature, e.explanation_id, question_id
