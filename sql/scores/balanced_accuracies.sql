-- One row per explanation, scorer and role: how many questions were answered and how, and the balanced accuracy.
-- Its interval is by MOVER from Wilson's of the two rates; the same one ends a sequential scoring (next_questions)
-- and stands in the scores.
-- Under min_coverage no figure is told, only balanced accuracy if all failures were wrong, or all right.
with counted as (
    select
        explanation_id,
        any_value(sae) as sae,
        any_value(feature) as feature,
        any_value(explainer) as explainer,
        scorer,
        role,
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
    group by explanation_id, scorer, role
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
)
select
    bounded.*,
    recalls.value as recall,
    recalls.low as recall_low,
    recalls.high as recall_high,
    specificities.value as specificity,
    specificities.low as specificity_low,
    specificities.high as specificity_high,
    (recalls.value + specificities.value) / 2 as balanced_accuracy,
    mover_low(recalls.value, recalls.low, specificities.value, specificities.low) as balanced_accuracy_low,
    mover_high(recalls.value, recalls.high, specificities.value, specificities.high) as balanced_accuracy_high
from bounded
left join rate_intervals as recalls
    on recalls.explanation_id = bounded.explanation_id
    and recalls.scorer = bounded.scorer
    and recalls.role = bounded.role
    and recalls.rate = 'recall'
    and bounded.is_covered
left join rate_intervals as specificities
    on specificities.explanation_id = bounded.explanation_id
    and specificities.scorer = bounded.scorer
    and specificities.role = bounded.role
    and specificities.rate = 'specificity'
    and bounded.is_covered
