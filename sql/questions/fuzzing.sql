-- One row per fuzzing question: are the marked tokens of this test window the ones on which the feature fires?
-- Both windows of a pair, marked in the same places; `draw` is the right one's. A pair without a partner was dropped.
with marked as (
    select feature, example_id, marked, true as label, draw from fuzzing_pairs where partner_id is not null
    union all
    select feature, partner_id, marked, false, draw from fuzzing_pairs where partner_id is not null
)
select
    e.explanation_id,
    e.feature,
    md5(concat_ws(' ', e.explanation_id, 'fuzzing', m.example_id, m.marked, m.label)) as question_id,
    m.example_id,
    m.marked,
    m.label,
    m.draw
from scored_explanations as e
join marked as m using (feature)
-- Two right windows with equal places may find the same wrong one.
qualify row_number() over (partition by e.explanation_id, m.example_id, m.marked order by m.draw) = 1
order by e.feature, e.explanation_id, question_id
