-- One row per explanation and scorer: counts of questions and answers, and the balanced accuracy.
-- It is one quotient of whole numbers: equal scores are the same number whatever their rates are, and no rounding
-- decides which of two explanations is better.
-- Its interval is by MOVER from Wilson's of the two rates. The same interval ends a sequential scoring
-- (next_questions) and is stored in the scores.
-- Below min_coverage the balanced accuracy and its rates are null; only its values if all failures were wrong, or
-- all right, are given.
with counted as (
    select
        explanation_id,
        any_value(sae) as sae,
        any_value(feature) as feature,
        any_value(explainer) as explainer,
        scorer,
        count(*) filter (is_scored) as n_scored,
        count(*) filter (is_put and not is_scored) as n_unscored,
        count(*) filter (is_put and label) as n_labelled_positive,
        count(*) filter (is_put and not label) as n_labelled_negative,
        count(*) filter (is_scored and label) as n_positive,
        count(*) filter (is_scored and not label) as n_negative,
        count(is_right) as n_judged,
        count(probability) filter (is_scored) as n_ranked,
        count(*) filter (is_scored and prediction) as n_predicted,
        count(*) filter (is_right and label) as n_right_positive,
        count(*) filter (is_right and not label) as n_right_negative
    from question_answers
    group by explanation_id, scorer
),
bounded as (
    select
        *,
        if(n_scored + n_unscored > 0, n_scored / (n_scored + n_unscored), null) as coverage,
        coalesce(coverage >= $scoring_min_coverage::double, false) as is_covered,
        n_scored > 0 and n_judged = 0 as is_ranked_only,
        is_covered and n_positive > 0 and n_negative > 0 and not is_ranked_only as is_judged,
        if(
            least(n_labelled_positive, n_labelled_negative) > 0 and not is_ranked_only,
            (n_right_positive / n_labelled_positive + n_right_negative / n_labelled_negative) / 2,
            null
        ) as balanced_accuracy_all_wrong,
        balanced_accuracy_all_wrong
        + (
            (n_labelled_positive - n_positive) / n_labelled_positive
            + (n_labelled_negative - n_negative) / n_labelled_negative
        ) / 2 as balanced_accuracy_all_right
    from counted
),
rates as (
    select
        explanation_id,
        scorer,
        max(value) filter (rate = 'recall') as recall,
        max(low) filter (rate = 'recall') as recall_low,
        max(high) filter (rate = 'recall') as recall_high,
        max(value) filter (rate = 'specificity') as specificity,
        max(low) filter (rate = 'specificity') as specificity_low,
        max(high) filter (rate = 'specificity') as specificity_high
    from rate_intervals
    semi join (from bounded where is_covered) as covered using (explanation_id, scorer)
    group by explanation_id, scorer
)
select
    *,
    if(
        is_judged,
        (n_right_positive * n_negative + n_right_negative * n_positive) / (2 * n_positive * n_negative),
        null
    ) as balanced_accuracy,
    mover_low(recall, recall_low, specificity, specificity_low) as balanced_accuracy_low,
    mover_high(recall, recall_high, specificity, specificity_high) as balanced_accuracy_high
from bounded
left join rates using (explanation_id, scorer)
