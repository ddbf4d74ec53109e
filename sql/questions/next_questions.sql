-- One row per question of the next round, with the prompt that it stands in, $questions_per_prompt each: its
-- window and the explanation's words.
-- An explanation goes on with a scorer while it has questions left and the interval of its balanced accuracy
-- reaches further than target_half_width to either side (Wilson and MOVER with the design effect, the very
-- interval that its score will have; stopping on a plug-in standard error covers 54 to 72 % where 95 % is
-- promised). An explanation that could not come to min_coverage if all that is left were answered stops as well:
-- its score is null.
-- A round takes as many positives as negatives while both last, those that come first. The first takes
-- min_questions of each, or all without a target_half_width; a further one as many as the width can be expected to
-- want at the rates so far, and at least round_questions. With n questions of each answer and rates p, pulled to
-- 1/2 by z^2 / 2 answers of either kind (Agresti and Coull 1998):
--   n (h / target)^2 - n, h = z / 2 sqrt(sum of p (1 - p) / (n + z^2))
-- Two stages (Stein 1945) overshoot the width by fewer questions than steps of one size, in fewer rounds. Their
-- sizes come from the answers alone, not from rho: where a pilot has raised it, the same rounds come first.
-- Positives and negatives are spread evenly over a round's prompts; within a prompt they stand in the order of a
-- hash.
with wants as (
    -- Null where nothing was asked yet.
    select
        explanation_id,
        scorer,
        (balanced_accuracy_high - balanced_accuracy_low) / 2 as half_width,
        n_scored,
        n_unscored,
        $scoring_z::double * $scoring_z::double as zz,
        (n_positive * recall + zz / 2) / (n_positive + zz) as p1,
        (n_negative * specificity + zz / 2) / (n_negative + zz) as p2,
        zz / 4 * (p1 * (1 - p1) / (n_positive + zz) + p2 * (1 - p2) / (n_negative + zz)) as square,
        n_scored / 2 * (square / power($scoring_target_half_width::double, 2) - 1) as n_more,
        greatest($scoring_round_questions, ceil(coalesce(n_more, $scoring_min_questions))) as n_wanted
    from balanced_accuracies
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
