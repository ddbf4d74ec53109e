-- One row per explanation, scorer and role: the figures of the questions as they were drawn, with intervals.
-- F1 = 2 r P / (r P + f N + P) rises with TPR r and falls with FPR f, so its bounds are its values at the bounds
-- of both, at the P positives and N negatives that were answered; they cover at least what the rates' do.
select
    c.* exclude (specificity, specificity_low, specificity_high),
    1 - c.specificity as false_positive_rate,
    1 - c.specificity_high as false_positive_rate_low,
    1 - c.specificity_low as false_positive_rate_high,
    p.value as precision,
    p.low as precision_low,
    p.high as precision_high,
    if(is_judged, 2 * n_right_positive / (n_predicted + n_positive), null) as f1,
    2 * recall_low * n_positive / ((1 + recall_low) * n_positive + (1 - specificity_low) * n_negative) as f1_low,
    2 * recall_high * n_positive / ((1 + recall_high) * n_positive + (1 - specificity_high) * n_negative) as f1_high,
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
        when is_ranked_only then 'it ranks windows and says neither yes nor no: read auroc'
        when n_predicted = 0 then 'no precision: every answer was negative'
    end as reason
from balanced_accuracies as c
left join rate_intervals as p
    on p.explanation_id = c.explanation_id and p.scorer = c.scorer and p.role = c.role and p.rate = 'precision'
    and c.is_judged
left join ranked_scores as a
    on a.explanation_id = c.explanation_id and a.scorer = c.scorer and a.role = c.role and a.stratum = 'all'
    and c.is_covered
