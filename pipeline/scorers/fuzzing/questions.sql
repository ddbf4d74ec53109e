-- One row per fuzzing question: are the marked tokens of this test window the ones on which the feature fires?
-- Each pair gives two questions, its windows marked at the same positions; `draw` is that of the right one. Pairs
-- without a partner have been dropped. Where the config sets n_no_questions, there are at most that many wrong
-- ones, from the pairs drawn first.
with marked as (
    select feature, example_id, marked, true as label, draw from fuzzing_pairs where partner_id is not null
    union all
    select feature, partner_id, marked, false, draw
    from fuzzing_pairs
    where partner_id is not null and draw <= $scoring_n_noes
),
marked_once as (
    -- Two right windows marked at the same positions may have the same partner.
    select *
    from marked
    qualify row_number() over (partition by feature, example_id, marked order by draw) = 1
)
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'fuzzing', example_id, marked, label)) as question_id,
    marked_once.example_id,
    marked_once.marked,
    marked_once.label,
    marked_once.draw
from scored_explanations
join marked_once using (feature)
order by scored_explanations.feature, scored_explanations.explanation_id, question_id
