-- One row per question of the next round, with the prompt that it stands in, $questions_per_prompt each: its
-- window and the explanation's words.
-- An explanation goes on with a scorer while it has questions left and the interval of its balanced accuracy
-- reaches further than target_half_width to either side (Wilson and MOVER with the design effect, the very
-- interval that its score will have; stopping on a plug-in standard error covers 54 to 72 % where 95 % is
-- promised). An explanation that could not come to min_coverage if all that is left were answered stops as well:
-- its score is null.
-- Positives and negatives are spread evenly over a round's prompts; within a prompt they stand in the order of a
-- hash.
with unasked as (
    select
        questions.*,
        questions.round = min(questions.round) over (partition by questions.explanation_id, questions.scorer)
            as is_next,
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
    left join balanced_accuracies
        on balanced_accuracies.explanation_id = unasked.explanation_id
        and balanced_accuracies.scorer = unasked.scorer
    where
        unasked.is_next
        and (
            balanced_accuracies.explanation_id is null
            or coalesce(
                (balanced_accuracy_high - balanced_accuracy_low) / 2 > $scoring_target_half_width::double,
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
