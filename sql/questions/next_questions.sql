-- One row per question of the next round, with the prompt that it stands in, $questions_per_prompt each: its
-- window and the explanation's words.
-- An explanation goes on with a scorer while it has questions left and the interval of its balanced accuracy
-- reaches further than target_half_width to either side (Wilson and MOVER with the design effect, the very
-- interval that its score will have; stopping on a plug-in standard error covers 54 to 72 % where 95 % is
-- promised). An explanation that could not come to min_coverage if all that is left were answered stops as well:
-- its score is null.
-- A round takes as many positives as negatives while both last, those that come first. The first takes
-- min_questions of each, or all without a target_half_width; a further one as many as make the interval narrow if
-- the rates p so far are the last ones, and at least round_questions. With n of each answer it reaches
--   z / 2 sqrt(n S + z^2 / 2) / (n + z^2), S = sum of p (1 - p)
-- to either side (of two Wilson intervals by MOVER), which is solved for n and multiplied by the design effect so
-- far: two stages (Stein 1945) overshoot by fewer questions than steps of one size, in fewer rounds. That design
-- effect is by the config's rho: where a pilot has raised it, the same rounds come first.
-- Positives and negatives are spread evenly over a round's prompts; within a prompt they stand in the order of a
-- hash.
with design_effects as (
    select explanation_id, scorer, avg(design_effect(m, $scoring_rho::double)) as design_effect
    from rate_intervals
    where rate in ('recall', 'specificity')
    group by explanation_id, scorer
),
wants as (
    -- Null where nothing was asked yet.
    select
        explanation_id,
        scorer,
        (balanced_accuracy_high - balanced_accuracy_low) / 2 as half_width,
        n_scored,
        n_unscored,
        $scoring_z::double * $scoring_z::double as zz,
        4 * power($scoring_target_half_width::double, 2) / zz as square,
        recall * (1 - recall) + specificity * (1 - specificity) as s,
        (s + sqrt(s * s + 2 * square * zz * (1 - 2 * s))) / (2 * square) - zz as n_effective,
        ceil(n_effective * design_effect - least(n_positive, n_negative)) as n_more,
        greatest($scoring_round_questions, coalesce(n_more, $scoring_min_questions)) as n_wanted
    from balanced_accuracies
    left join design_effects using (explanation_id, scorer)
),
unasked as (
    select
        questions.*,
        row_number() over (
            partition by questions.explanation_id, questions.scorer, questions.label order by questions.place
        ) as turn,
        count(*) over (partition by questions.explanation_id, questions.scorer) as n_left
    from questions
    anti join predictions
        on predictions.explanation_id = questions.explanation_id
        and predictions.scorer = questions.scorer
        and predictions.question_id = questions.question_id
),
going_on as (
    select unasked.*
    from unasked
    left join wants using (explanation_id, scorer)
    where
        ($scoring_target_half_width::double is null or turn <= coalesce(n_wanted, $scoring_min_questions))
        and (
            wants.explanation_id is null
            or coalesce(
                half_width > $scoring_target_half_width::double,
                (n_scored + n_left) / (n_scored + n_unscored + n_left) >= $scoring_min_coverage::double
            )
        )
),
spread as (
    select
        *,
        (row_number() over (partition by explanation_id, scorer, label order by question_id) - 0.5)
        / count(*) over (partition by explanation_id, scorer, label) as share_before
    from going_on
),
dealt as (
    select
        *,
        (row_number() over (partition by explanation_id, scorer order by share_before, question_id) - 1)
        // $questions_per_prompt as prompt
    from spread
)
select
    dealt.explanation_id,
    dealt.feature,
    dealt.scorer,
    dealt.prompt,
    dealt.question_id,
    dealt.example_id,
    dealt.marked,
    dealt.label,
    scored_explanations.explanation,
    examples.token_ids
from dealt
join scored_explanations using (explanation_id)
join examples using (example_id)
order by dealt.scorer, dealt.feature, dealt.explanation_id, dealt.prompt, dealt.question_id
