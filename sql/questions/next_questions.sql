-- One row per question of the next round, with its window, the explanation's words and the number of its prompt,
-- $questions_per_prompt to a prompt.
-- An explanation continues with a scorer while it has questions left and the half-width of its balanced accuracy's
-- interval exceeds target_half_width. The interval is the one that its score will have (Wilson and MOVER with the
-- design effect); stopping on a plug-in standard error covers 54 to 72 % where 95 % is promised. It also stops
-- where more questions cannot help: where all questions with one answer have been asked and that rate's part
-- alone, (high - low) / 4, is wider; and where it would miss min_coverage even if all remaining questions were
-- answered: its score is null. Where a request failed, it waits for the next run: what comes next depends on the
-- answers so far, and questions that follow from half of them would be paid for and then not be asked.
-- A round takes equal numbers of positives and negatives while both last, in their order. The first round takes
-- min_questions of each, or all without a target_half_width. A further one takes as many as would make the
-- interval narrow enough if the rates p so far were the final ones, and at least one. With n of each
-- answer the half-width is
--   z / 2 sqrt(n S + z^2 / 2) / (n + z^2), S = sum of p (1 - p)
-- (two Wilson intervals by MOVER), which is solved for n and multiplied by the design effect so far. Two stages
-- (Stein 1945) overshoot by fewer questions than steps of one size, in fewer rounds.
-- The pilot used the config's rho. While an explanation would continue under that rho, rounds are sized by it, so
-- that the pilot's questions come first and its answers are reused; afterwards by the rho in force, which the
-- pilot may have raised.
-- Positives and negatives are spread evenly over a round's prompts. Within a prompt they are in the order of a
-- hash of the window and its marks alone, so two explanations in the same words make the same prompt and share one
-- answer.
with unasked as (
    select
        questions.*,
        row_number() over (
            partition by questions.explanation_id, questions.scorer, questions.label order by questions.number
        ) as turn,
        count(*) over by_explanation as n_left,
        count(*) filter (questions.label) over by_explanation as n_left_positive
    from questions
    anti join predictions
        on predictions.explanation_id = questions.explanation_id
        and predictions.scorer = questions.scorer
        and predictions.question_id = questions.question_id
    window by_explanation as (partition by questions.explanation_id, questions.scorer)
),
left_over as (
    select distinct explanation_id, scorer, n_left, n_left_positive from unasked
),
rates as (
    -- Under the config's rho, and under the one in force.
    select
        explanation_id,
        scorer,
        rate,
        value,
        unnest([true, false]) as is_by_config,
        if(is_by_config, design_effect(m, $scoring_rho::double), n / n_effective) as design_effect,
        wilson_low(value, n / design_effect, $scoring_z::double) as low,
        wilson_high(value, n / design_effect, $scoring_z::double) as high
    from rate_intervals
    where rate in ('recall', 'specificity')
),
widths as (
    select
        rates.explanation_id,
        rates.scorer,
        rates.is_by_config,
        avg(design_effect) as design_effect,
        (sqrt(sum(power(value - low, 2))) + sqrt(sum(power(high - value, 2)))) / 4 as half_width,
        max((high - low) / 4) filter (
            if(rate = 'recall', n_left_positive, n_left - n_left_positive) = 0
        ) as spent_half_width,
        half_width > $scoring_target_half_width::double
        and coalesce(spent_half_width <= $scoring_target_half_width::double, true) as is_wanted
    from rates
    join left_over using (explanation_id, scorer)
    group by rates.explanation_id, rates.scorer, rates.is_by_config
),
decided as (
    select
        explanation_id,
        scorer,
        bool_or(is_wanted) as is_wanted,
        coalesce(
            any_value(design_effect) filter (is_by_config and is_wanted),
            any_value(design_effect) filter (not is_by_config)
        ) as design_effect
    from widths
    group by explanation_id, scorer
),
wants as (
    -- Null where nothing has been asked yet.
    select
        explanation_id,
        scorer,
        n_scored,
        n_unscored,
        if(is_judged, is_wanted, null) as is_wanted,
        $scoring_z::double * $scoring_z::double as zz,
        4 * power($scoring_target_half_width::double, 2) / zz as square,
        recall * (1 - recall) + specificity * (1 - specificity) as s,
        (s + sqrt(s * s + 2 * square * zz * (1 - 2 * s))) / (2 * square) - zz as n_effective,
        ceil(n_effective * design_effect - least(n_positive, n_negative)) as n_more,
        greatest(1, coalesce(n_more, $scoring_min_questions)) as n_wanted
    from balanced_accuracies
    left join decided using (explanation_id, scorer)
),
waiting as (
    select distinct explanation_id, scorer from predictions where is_failed(status)
),
going_on as (
    select unasked.*
    from unasked
    anti join waiting using (explanation_id, scorer)
    left join wants using (explanation_id, scorer)
    where
        ($scoring_target_half_width::double is null or turn <= coalesce(n_wanted, $scoring_min_questions))
        and (
            wants.explanation_id is null
            or coalesce(
                is_wanted, (n_scored + n_left) / (n_scored + n_unscored + n_left) >= $scoring_min_coverage::double
            )
        )
),
spread as (
    select
        *,
        md5(concat_ws(' ', example_id, marked)) as shuffle,
        (row_number() over (partition by explanation_id, scorer, label order by shuffle, question_id) - 0.5)
        / count(*) over (partition by explanation_id, scorer, label) as share_before
    from going_on
),
dealt as (
    select
        *,
        (row_number() over (partition by explanation_id, scorer order by share_before, shuffle, question_id) - 1)
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
order by
    dealt.scorer, dealt.feature, dealt.explanation_id, dealt.prompt, dealt.shuffle, dealt.question_id
