-- One row per question that scorer $scorer may put (of `asked_questions`, its own rows), with the round in which
-- its turn comes. A round takes as many positives as negatives while both last, in the order in which windows were
-- drawn: distinct documents first, deciles and silent strata in turn. Round 1 takes min_questions of each, a
-- further one round_questions; without a target_half_width there is only one.
with placed as (
    select *, row_number() over (partition by explanation_id, label order by draw, question_id) as place
    from asked_questions
)
select
    * exclude (draw, place),
    $scorer as scorer,
    if(
        $scoring_target_half_width::double is null,
        1,
        1 + greatest(0, ceil((place - $scoring_min_questions) / $scoring_round_questions))
    )::int as round
from placed
