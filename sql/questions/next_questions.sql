-- One row per question of the next round, with the prompt that it stands in: its window and the explanation's words.
-- An explanation goes on with a scorer while it has questions left and the interval of its balanced accuracy
-- reaches further than target_half_width to either side (Wilson and MOVER with the design effect, the very interval
-- that its score will have; stopping on a plug-in standard error covers 54 to 72 % where 95 % is promised). An
-- explanation that could not come to min_coverage if all that is left were answered stops as well: its score is null.
-- Positives and negatives are spread evenly over a round's prompts; within a prompt they stand in the order of a
-- hash.
with unasked as (
    select
        q.*,
        q.round = min(q.round) over (partition by q.explanation_id, q.scorer) as is_next,
        count(*) over (partition by q.explanation_id, q.scorer) as n_left
    from questions as q
    anti join predictions as p
        on p.explanation_id = q.explanation_id and p.scorer = q.scorer and p.question_id = q.question_id
),
going_on as (
    select u.*
    from unasked as u
    left join balanced_accuracies as b on b.explanation_id = u.explanation_id and b.scorer = u.scorer
    where
        u.is_next
        and (
            b.explanation_id is null
            or coalesce(
                (b.balanced_accuracy_high - b.balanced_accuracy_low) / 2 > $scoring_target_half_width::double,
                (b.n_scored + u.n_left) / (b.n_scored + b.n_unscored + u.n_left) >= $scoring_min_coverage::double
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
            // $scoring_questions_per_prompt as prompt
    from spread
)
select
    d.explanation_id,
    d.feature,
    d.scorer,
    d.prompt,
    d.question_id,
    d.example_id,
    d.marked,
    d.label,
    e.explanation,
    x.token_ids
from dealt as d
join scored_explanations as e using (explanation_id)
join examples as x using (example_id)
order by d.scorer, d.feature, d.explanation_id, d.prompt, d.question_id
