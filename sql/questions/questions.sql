-- One row per question that a scorer of the config may put, with the round in which its turn comes.
-- A round takes as many positives as negatives while both last, in the order in which windows were drawn: distinct
-- documents first, deciles and silent strata in turn. Round 1 takes min_questions of each, a further one
-- round_questions; without a target_half_width there is only one.
with asked as (
    select 'detection' as scorer, * from detection_questions
    union all by name
    select 'fuzzing' as scorer, * from fuzzing_questions
),
placed as (
    select *, row_number() over (partition by explanation_id, scorer, label order by draw, question_id) as place
    from asked
    where list_contains($scoring_scorers, scorer)
)
select
    * exclude (draw, place),
    if(
        $scoring_target_half_width::double is null,
        1,
        1 + greatest(0, ceil((place - $scoring_min_questions) / $scoring_round_questions))
    )::int as round
from placed
