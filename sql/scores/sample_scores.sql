-- One row per explanation and scorer: the figures of the questions as they were drawn, with intervals.
-- F1 = 2 r P / (r P + f N + P) rises with TPR r and falls with FPR f, so its bounds are its values at the bounds
-- of both, for the P positives and N negatives that were answered. They cover at least as often as the rates'
-- bounds do.
select
    balanced_accuracies.* exclude (specificity, specificity_low, specificity_high),
    1 - balanced_accuracies.specificity as false_positive_rate,
    1 - balanced_accuracies.specificity_high as false_positive_rate_low,
    1 - balanced_accuracies.specificity_low as false_positive_rate_high,
    if(is_judged, precisions.value, null) as precision,
    if(is_judged, precisions.low, null) as precision_low,
    if(is_judged, precisions.high, null) as precision_high,
    if(is_judged, 2 * n_right_positive / (n_predicted + n_positive), null) as f1,
    2 * recall_low * n_positive / ((1 + recall_low) * n_positive + (1 - specificity_low) * n_negative) as f1_low,
    2 * recall_high * n_positive / ((1 + recall_high) * n_positive + (1 - specificity_high) * n_negative)
        as f1_high,
    ranked.auroc,
    ranked.auroc_low,
    ranked.auroc_high,
    ranked.average_precision,
    if(n_ranked > 0, n_ranked / (n_scored + n_unscored), null) as auroc_coverage,
    choice_scores.* exclude (explanation_id, scorer),
    case
        when n_scored + n_unscored = 0 then 'nothing could be asked: what it asks about is not there'
        when not is_covered then coverage_reason(n_scored, n_unscored, $scoring_min_coverage::double)
        when choice_scores.chance is not null then null
        when n_labelled_positive = 0 then 'no positive question could be asked'
        when n_labelled_negative = 0 then 'no negative question could be asked'
        when n_positive = 0 then 'no positive question was answered'
        when n_negative = 0 then 'no negative question was answered'
        when is_ranked_only then 'it ranks windows and says neither yes nor no: read auroc'
        when n_predicted = 0 then 'no precision: every answer was negative'
    end as reason
from balanced_accuracies
left join (from rate_intervals where rate = 'precision') as precisions using (explanation_id, scorer)
left join choice_scores using (explanation_id, scorer)
left join (from ranked_scores where stratum = 'all') as ranked using (explanation_id, scorer)
