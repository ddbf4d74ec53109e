-- One row per explanation, scorer and role: the figures of the questions as they were drawn, with intervals.
-- Balanced accuracy (TPR + TNR) / 2 by MOVER (Zou and Donner 2008) from the Wilson intervals of the two rates:
--   L = ba - 1/2 sqrt((p1 - l1)^2 + (p2 - l2)^2), U likewise.
-- F1 = 2 r P / (r P + f N + P) rises with TPR r and falls with FPR f, so its bounds are its values at the bounds
-- of both, at the P positives and N negatives that were answered; they cover at least what the rates' do.
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
        count(*) filter (not is_scored) as n_unscored,
        count(*) filter (label) as n_labelled_positive,
        count(*) filter (not label) as n_labelled_negative,
        count(*) filter (is_scored and label) as n_positive,
        count(*) filter (is_scored and not label) as n_negative,
        count(*) filter (is_scored and prediction) as n_predicted,
        count(*) filter (is_right and label) as n_right_positive,
        count(*) filter (is_right and not label) as n_right_negative
    from question_answers
    group by explanation_id, scorer, role
),
bounded as (
    select
        *,
        n_scored / (n_scored + n_unscored) as coverage,
        coverage >= $scoring_min_coverage::double as is_covered,
        is_covered and n_positive > 0 and n_negative > 0 as is_judged,
        if(
            least(n_labelled_positive, n_labelled_negative) > 0,
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
    c.*,
    r.value as recall,
    r.low as recall_low,
    r.high as recall_high,
    1 - s.value as false_positive_rate,
    1 - s.high as false_positive_rate_low,
    1 - s.low as false_positive_rate_high,
    (r.value + s.value) / 2 as balanced_accuracy,
    balanced_accuracy - sqrt(power(r.value - r.low, 2) + power(s.value - s.low, 2)) / 2 as balanced_accuracy_low,
    balanced_accuracy + sqrt(power(r.high - r.value, 2) + power(s.high - s.value, 2)) / 2
        as balanced_accuracy_high,
    p.value as precision,
    p.low as precision_low,
    p.high as precision_high,
    if(is_judged, 2 * n_right_positive / (n_predicted + n_positive), null) as f1,
    2 * r.low * n_positive / ((1 + r.low) * n_positive + (1 - s.low) * n_negative) as f1_low,
    2 * r.high * n_positive / ((1 + r.high) * n_positive + (1 - s.high) * n_negative) as f1_high,
    a.auroc,
    a.auroc_low,
    a.auroc_high,
    a.average_precision,
    case
        when not is_covered then format(
            'coverage {:.2f} is under {:.2f}',
            (100 * n_scored // (n_scored + n_unscored)) / 100, $scoring_min_coverage::double
        )
        when n_positive = 0 then 'no positive question was answered'
        when n_negative = 0 then 'no negative question was answered'
        when n_predicted = 0 then 'no precision: every answer was negative'
    end as reason
from bounded as c
left join rate_intervals as r
    on r.explanation_id = c.explanation_id and r.scorer = c.scorer and r.role = c.role and r.rate = 'recall'
    and c.is_covered
left join rate_intervals as s
    on s.explanation_id = c.explanation_id and s.scorer = c.scorer and s.role = c.role and s.rate = 'specificity'
    and c.is_covered
left join rate_intervals as p
    on p.explanation_id = c.explanation_id and p.scorer = c.scorer and p.role = c.role and p.rate = 'precision'
    and c.is_judged
left join ranked_scores as a
    on a.explanation_id = c.explanation_id and a.scorer = c.scorer and a.role = c.role and c.is_judged
